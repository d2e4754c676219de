"""What a process of a pool hears of its parent, and what it does when that is silent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from celery_locks import LockLost
from celery_locks.board import FREE, LEAVING, Region
from celery_locks.interrupt import kill
from celery_locks.record import News
from tests.unit.fakes import Room, pass_time
from tests.unit.pools import enter, tell

if TYPE_CHECKING:
    from celery_locks.lease import Lease


def test_a_parent_that_beats_is_believed(room: Room, region: Region, caplog):
    """Its news make the lease longer, and the process does not beat itself."""
    lease = enter(room)
    for _ in range(30):
        room.clock.advance(9.0)
        region.begin(0, room.clock.now)
        tell(room, region, room.clock.now + 30.0)
        room.keeper.tick()
        assert lease.remaining == pytest.approx(30.0)
    assert lease.held()
    assert room.store.called("renew") == []
    assert caplog.records == []


def test_news_that_are_old_are_not_believed(room: Room, region: Region):
    """What was said of an earlier lease in the same slot, or before the last renewal, counts for nothing."""
    first = enter(room)
    tell(room, region, room.clock.now + 1000.0)
    assert first.remaining == pytest.approx(1000.0)
    room.guard.leave(first)
    second = enter(room)
    assert second.remaining == pytest.approx(30.0)
    tell(room, region, room.clock.now + 5.0)
    assert second.remaining == pytest.approx(30.0)


def test_a_silent_parent_is_replaced(room: Room, region: Region, caplog):
    """Half an interval late the process beats itself, and says so once."""
    lease = enter(room)
    room.clock.advance(14.9)
    room.keeper.tick()
    assert room.store.called("renew") == []
    pass_time(room, 300.0)
    assert lease.held()
    assert room.holder() == lease.owner
    assert len(room.store.called("renew")) == pytest.approx(30, abs=2)
    assert [record.message for record in caplog.records if "does not renew our leases" in record.message] == [
        f"the worker's main process does not renew our leases: process {region.pid} does it now"
    ]
    room.store.called("renew").clear()
    # It has come back.
    region.begin(0, room.clock.now)
    so_far = len(room.store.called("renew"))
    pass_time(room, 14.0)
    assert len(room.store.called("renew")) == so_far


def test_a_parent_whose_store_is_down_is_not_silent(room: Room, region: Region):
    """It tries: to try as well would help nobody."""
    enter(room)
    for _ in range(5):
        room.clock.advance(5.0)
        region.begin(0, room.clock.now)
        room.keeper.tick()
    assert room.store.called("renew") == []


def test_a_loss_is_heard_and_not_reported_again(room: Room, region: Region, caplog):
    """The job is told; the parent has reported it."""
    told: list[Lease] = []
    lease = enter(room, on_lost=told.append)
    tell(room, region, -math.inf, lost="the store says so")
    assert not lease.held()
    assert told == [lease]
    with pytest.raises(LockLost, match="the store says so"):
        lease.ensure_held()
    room.keeper.tick()
    assert not room.guard.leave(lease)
    assert caplog.records == []


# When the parent is silent


def lost_lines(caplog) -> list[str]:
    return [message for message in caplog.messages if message.startswith("lost the lease")]


@pytest.mark.usefixtures("region")
def test_the_parent_is_given_time_to_report(room: Room, caplog):
    """Both were stopped beyond the end of a lease: its job is told at once; half a second later its loss is reported.

    However long they were stopped.
    """
    told: list[Lease] = []
    lease = enter(room, on_lost=told.append)
    room.clock.advance(300.0)
    room.keeper.expire()
    assert told == [lease]
    room.clock.advance(0.4)
    room.keeper.expire()
    assert lost_lines(caplog) == []
    room.clock.advance(0.2)
    room.keeper.expire()
    assert len(lost_lines(caplog)) == 1


def test_a_loss_that_the_parent_has_reported(room: Room, region: Region, caplog):
    """It came a moment later than ours: that is not said twice, and the job is not told twice."""
    told: list[Lease] = []
    lease = enter(room, on_lost=told.append)
    room.clock.advance(300.0)
    room.keeper.expire()
    tell(room, region, -math.inf, lost="its ttl ran out")
    assert not lease.held()
    room.clock.advance(1.0)
    room.keeper.tick()
    room.guard.leave(lease)
    assert told == [lease]
    assert lost_lines(caplog) == []


def test_a_loss_is_reported_before_its_job_is_over(room: Room, region: Region, caplog):
    """The parent has said nothing by then, and is not to say it later."""
    lease = enter(room, on_lost=lambda _: None)
    head = region.head(0)
    room.clock.advance(300.0)
    room.keeper.expire()
    room.guard.leave(lease)
    assert len(lost_lines(caplog)) == 1
    own = region.own_news(0, head)
    assert own is not None
    assert (own.is_lost, own.is_said) == (True, True)
    room.clock.advance(1.0)
    room.keeper.tick()
    assert len(lost_lines(caplog)) == 1


@pytest.mark.parametrize(("on_lost", "before"), [(lambda _: None, 0.25), (kill, 1.0)])
def test_who_stands_in_for_the_parent_is_in_time(room: Room, region: Region, on_lost, before: float):
    """The parent is silent and the store is down: the job ends before the lease does, as with the parent."""
    lease = enter(room, on_lost=on_lost)
    room.keeper.expire()
    [watched] = room.keeper._watched.values()
    told: list[Lease] = []
    watched.on_lost = told.append  # in place of what would end this process
    room.store.fail("renew", times=1000)
    for _ in range(1000):
        if told:
            break
        room.clock.advance(0.05)
        room.keeper.tick()
    assert lease.deadline - room.clock.now == pytest.approx(before, abs=0.06)
    own = region.own_news(0, region.head(0))
    assert own is not None
    assert (own.is_lost, own.is_said) == (True, False)


def test_who_has_a_parent_leaves_the_end_to_it(room: Room, region: Region):
    """As long as that tries, a lease is over when its time is."""
    told: list[Lease] = []
    lease = enter(room, on_lost=told.append)
    for _ in range(1000):
        if told:
            break
        room.clock.advance(0.05)
        region.begin(0, room.clock.now)
        room.keeper.tick()
    assert lease.deadline - room.clock.now == pytest.approx(0.0, abs=0.06)


def test_what_a_process_renews_itself_is_shown(room: Room, region: Region):
    """Its parent may come back, and is not to take the lease for lost."""
    lease = enter(room)
    assert region.own_news(0, region.head(0)) is None
    pass_time(room, 60.0)
    assert region.own_news(0, region.head(0)) == News(lease.deadline)


def test_a_loss_told_in_the_last_moment_is_heard(room: Room, region: Region, monkeypatch):
    """The parent may have sent its signal by then: it is not to end the next job, so the process ends at once."""
    told = []
    lease = enter(room, on_lost=lambda _: told.append(region.state(0)))
    release = room.store.release

    def released(claim):
        answer = release(claim)
        tell(room, region, -math.inf, lost="its ttl ran out")
        return answer

    monkeypatch.setattr(room.store, "release", released)
    assert not room.guard.leave(lease)
    assert told == [LEAVING]
    assert region.state(0) == FREE
