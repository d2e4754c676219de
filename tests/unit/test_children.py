"""What the main process of a worker makes of the board: who is kept, and who is told of a loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from celery_locks import signals
from celery_locks.board import CLAIMED, FREE, HELD, LEAVING, Region
from celery_locks.lease import Claim
from tests.unit.fakes import heard, pass_time

if TYPE_CHECKING:
    from tests.unit.pools import Pool


@pytest.fixture
def region(pool: Pool) -> Region:
    return pool.board.regions[0]


def news(region: Region, slot: int = 0):
    """What the holder hears."""
    return region.news(slot, region.head(slot))


def test_what_is_held_is_kept(pool: Pool, region: Region):
    """For many ttls, and its holder hears until when."""
    lease = pool.hold()
    pool.children.look()
    pass_time(pool.room, 300.0)
    assert pool.room.holder(lease.key) == lease.owner
    said = news(region)
    assert not said.is_lost
    assert said.deadline > pool.room.clock.now + 19.0
    assert pool.struck == []


def test_its_beat_is_due_from_when_it_was_taken(pool: Pool):
    """Not from when the main process looked."""
    pool.hold()
    pool.room.clock.advance(9.9)
    pool.children.look()
    pool.room.clock.advance(0.1)
    pool.room.keeper.tick()
    assert len(pool.room.store.called("renew")) == 1


def test_all_processes_are_one_round_trip(pool: Pool):
    """However many they are, and however much they hold."""
    held = [pool.hold(slot, place=place) for place in range(3) for slot in range(50)]
    pool.children.look()
    pool.room.clock.advance(10.0)
    pool.room.keeper.tick()
    assert [[lease.key for lease in call] for call in pool.room.store.called("renew")] == [[each.key for each in held]]


@pytest.mark.parametrize("state", [FREE, CLAIMED, LEAVING])
def test_what_is_held_no_more_is_not_kept(pool: Pool, region: Region, state: int):
    """Also before the next look: its being gone is no loss."""
    pool.hold()
    pool.children.look()
    region.move(0, state)
    pool.room.store.memory.force_release("wallet:0-0")
    with heard(signals.lost) as lost:
        pass_time(pool.room, 60.0)
    assert pool.room.store.called("renew") == []
    assert (lost, pool.struck) == ([], [])
    pool.children.look()
    assert pool.room.watched() == []


def test_what_is_given_back_during_its_beat_is_not_lost(pool: Pool, region: Region, monkeypatch):
    """The store says no to a renewal that came after the release."""
    pool.hold()
    pool.children.look()
    renew = pool.room.store.renew

    def late(leases):
        region.move(0, LEAVING)
        pool.room.store.memory.force_release("wallet:0-0")
        return renew(leases)

    monkeypatch.setattr(pool.room.store, "renew", late)
    pool.room.clock.advance(10.0)
    with heard(signals.lost) as lost:
        pool.room.keeper.tick()
    assert (lost, pool.struck) == ([], [])


def test_the_next_lease_in_a_slot_is_another(pool: Pool, region: Region):
    """What was kept before it is forgotten."""
    pool.hold()
    pool.children.look()
    pool.room.free(Claim("wallet:0-0", "owner of wallet:0-0", 30.0))
    region.move(0, FREE)
    pool.hold(ttl=60.0)
    pool.children.look()
    assert [lease.ttl for lease in pool.room.watched()] == [60.0]


def test_what_only_asks_is_not_kept(pool: Pool):
    """It has no lease yet."""
    pool.hold()
    pool.board.regions[0].move(0, CLAIMED)
    pool.children.look()
    assert pool.room.watched() == []


def test_a_beat_is_shown(pool: Pool, region: Region, monkeypatch):
    """From its beginning to its end: a renewal by hand waits for it."""
    pool.hold()
    pool.children.look()
    seen, renew = [], pool.room.store.renew
    monkeypatch.setattr(pool.room.store, "renew", lambda leases: seen.append(region.is_beating(0)) or renew(leases))
    pool.room.store.fail("renew")
    for _ in range(2):
        pool.room.clock.advance(10.0)
        pool.room.keeper.tick()
        assert not region.is_beating(0)
        assert region.began(0) == pool.room.clock.now
        pool.room.clock.advance(0.001)
    assert seen == [True, True]


def test_what_is_taken_back_as_its_beat_begins(pool: Pool, region: Region, monkeypatch):
    """Its holder renews it by hand: it is left out of the beat, and nobody waits for that."""
    pool.hold()
    other = pool.hold(1)
    pool.children.look()
    begin = region.begin

    def taken_back(slot: int, now: float) -> None:
        begin(slot, now)
        region.move(0, CLAIMED)

    monkeypatch.setattr(region, "begin", taken_back)
    pool.room.clock.advance(10.0)
    pool.room.keeper.tick()
    assert [[lease.key for lease in call] for call in pool.room.store.called("renew")] == [[other.key]]
    assert not region.is_beating(0)


# When to look


def test_when_the_board_is_looked_at(pool: Pool):
    """Before the first beat of the next lease like these; once more when the last is gone; then when it rings."""
    assert pool.board.wakes_at == math.inf
    pool.hold(ttl=30.0)
    pool.hold(1, ttl=3.0)
    pool.children.look()
    assert pool.board.wakes_at == pytest.approx(pool.room.clock.now + 0.8)
    for slot in range(2):
        pool.board.regions[0].move(slot, FREE)
    pool.children.look()
    assert pool.board.wakes_at == pytest.approx(pool.room.clock.now + 1.0)
    pool.children.look()
    assert pool.board.wakes_at == math.inf


def test_what_is_half_written_is_looked_at_again(pool: Pool, region: Region):
    """At once, and then it is kept."""
    pool.hold()
    region._slots[20] ^= 0xFF
    pool.children.look()
    assert pool.room.watched() == []
    assert pool.board.wakes_at < pool.room.clock.now + 0.01
    region._slots[20] ^= 0xFF
    pool.children.look()
    assert len(pool.room.watched()) == 1


def test_a_held_slot_is_as_it_was(pool: Pool, region: Region):
    """To look changes nothing."""
    pool.hold()
    head = region.head(0)
    pool.children.look()
    assert (region.head(0), region.state(0)) == (head, HELD)
