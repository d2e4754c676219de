"""A lease of a pool's process that is renewed by hand, which its parent is to go on with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from celery_locks import LockLost, StoreUnavailable, parent
from celery_locks.board import CLAIMED, HELD, Region
from celery_locks.lease import Lease
from celery_locks.record import FLAG
from tests.unit.pools import enter, tell

if TYPE_CHECKING:
    from tests.unit.fakes import Room


def test_a_renewal_by_hand_is_shown(room: Room, region: Region, rings):
    """The parent goes on with the new ttl, and beats as often in it."""
    lease = enter(room)
    before = region.head(0)
    rings.clear()
    room.clock.advance(3.0)
    lease.renew(300.0)
    entry, term = region.entry(0), region.term(0)
    assert entry is not None
    assert entry.owner == lease.owner
    assert term == (lease.deadline, 300.0, 100.0, lease.fence, FLAG, -math.inf)
    assert region.head(0) >> 2 != before >> 2
    assert len(rings) == 1
    tell(room, region, room.clock.now + 400.0)
    assert lease.remaining == pytest.approx(400.0)


def test_a_renewal_by_hand_waits_for_the_beat_under_way(room: Room, region: Region, monkeypatch):
    """The parent is not to begin another meanwhile, and is waited for."""
    lease = enter(room)
    region.begin(0, 2.0)
    states = []

    def slept(_: float) -> None:
        states.append(region.state(0))
        assert room.store.called("renew") == []
        if len(states) == 3:
            region.end(0, 3.0)

    monkeypatch.setattr(parent.time, "sleep", slept)
    lease.renew(60.0)
    assert states == [CLAIMED] * 3
    assert region.state(0) == HELD


def test_a_renewal_by_hand_does_not_wait_for_ever(room: Room, region: Region, monkeypatch):
    """While the parent's store hangs it is an outage, and nothing has changed."""
    lease = enter(room)
    region.begin(0, 2.0)
    monkeypatch.setattr(parent, "PATIENCE", 0.01)
    with pytest.raises(StoreUnavailable, match="is being renewed"):
        lease.renew(60.0)
    term = region.term(0)
    assert term is not None
    assert (lease.ttl, term.ttl, region.state(0)) == (30.0, 30.0, HELD)


def test_a_renewal_by_hand_that_failed(room: Room, region: Region):
    """The parent keeps what there was."""
    lease = enter(room)
    room.store.fail("renew")
    with pytest.raises(StoreUnavailable):
        lease.renew(60.0)
    term = region.term(0)
    assert term is not None
    assert (term.ttl, term.interval, region.state(0)) == (30.0, 10.0, HELD)


def test_a_beat_that_begins_with_a_renewal_by_hand(room: Room, region: Region, monkeypatch):
    """A processor may show each too late that the other has begun: the one by hand is done again, last."""
    lease = enter(room)
    renew = room.store.renew

    def met(leases):
        if len(room.store.called("renew")) == 0:
            region.begin(0, room.clock.now)
            region.end(0, room.clock.now)
            room.store.memory.renew([Lease(lease.claim, lease.fence, lease.deadline)])
        return renew(leases)

    monkeypatch.setattr(room.store, "renew", met)
    room.clock.advance(1.0)
    lease.renew(300.0)
    assert len(room.store.called("renew")) == 2
    assert room.store.inspect("wallet:42").remaining == pytest.approx(300.0)


def test_a_lost_lease_is_not_entrusted_again(room: Room, region: Region, monkeypatch):
    """Its parent tells of the loss while it is renewed by hand: it is lost, and reported once."""
    told: list[Lease] = []
    lease = enter(room, on_lost=told.append)

    def slept(_: float) -> None:
        tell(room, region, -math.inf, lost="its ttl ran out")

    region.begin(0, room.clock.now + 1.0)
    room.clock.advance(2.0)
    monkeypatch.setattr(parent.time, "sleep", slept)
    with pytest.raises(LockLost, match="its ttl ran out"):
        lease.renew(60.0)
    assert room.store.called("renew") == []
    assert told == [lease]
    assert region.state(0) == CLAIMED


def test_a_lease_that_is_lost_as_it_is_renewed(room: Room, region: Region, monkeypatch):
    """What the store has answered comes too late: the job is not told that all is well."""
    lease = enter(room)
    renew = room.store.renew
    monkeypatch.setattr(room.store, "renew", lambda leases: leases[0].lose("its ttl ran out") and renew(leases))
    with pytest.raises(LockLost, match="its ttl ran out"):
        lease.renew(60.0)
    assert region.state(0) == CLAIMED


def test_old_news_are_not_heard_during_a_renewal_by_hand(room: Room, region: Region, monkeypatch):
    """A lease that is made shorter does not last as long as its parent has said before."""
    lease = enter(room)
    room.clock.advance(1.0)
    tell(room, region, room.clock.now + 30.0)
    renew, seen = room.store.renew, []
    monkeypatch.setattr(room.store, "renew", lambda leases: seen.append(lease.remaining) or renew(leases))
    lease.renew(5.0)
    assert (seen, lease.remaining) == ([5.0], 5.0)
