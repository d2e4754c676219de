"""What the main process of a worker does when a lease of its pool is lost, and when it only seems to be."""

from __future__ import annotations

import math
import signal

import pytest

from celery_locks import signals
from celery_locks.board import FREE, LEAVING, Region
from celery_locks.record import FLAG, KILL, RAISE, News
from tests.unit.fakes import heard, pass_time
from tests.unit.pools import ME, Pool


@pytest.fixture
def region(pool: Pool) -> Region:
    return pool.board.regions[0]


def news(region: Region, slot: int = 0):
    """What the holder hears."""
    return region.news(slot, region.head(slot))


@pytest.mark.parametrize(("on_lost", "number"), [(RAISE, signal.SIGURG), (KILL, signal.SIGKILL)])
def test_a_loss_is_told_and_reported_once(pool: Pool, region: Region, on_lost: int, number: int):
    """The store has given the key to another: the process hears why, and gets its signal."""
    pool.hold(on_lost=on_lost)
    pool.children.look()
    pool.room.steal("wallet:0-0")
    with heard(signals.lost) as lost:
        pass_time(pool.room, 60.0)
    assert pool.struck == [(ME, number)]
    said = news(region)
    assert said.is_lost
    assert said.reason == "the store says that it expired or was taken away"
    assert [event.owner for event in lost] == ["owner of wallet:0-0"]


def test_a_flagged_loss_interrupts_nothing(pool: Pool, region: Region):
    """It is heard by who asks."""
    pool.hold(on_lost=FLAG)
    pool.children.look()
    pool.room.steal("wallet:0-0")
    pass_time(pool.room, 30.0)
    assert pool.struck == []
    assert news(region).is_lost


@pytest.mark.parametrize(("on_lost", "before"), [(RAISE, 0.5), (FLAG, 0.5), (KILL, 2.0)])
def test_a_loss_is_told_before_the_time_is_over(pool: Pool, on_lost: int, before: float):
    """A process that is to be gone by then needs time to die."""
    lease = pool.hold(on_lost=on_lost)
    pool.children.look()
    pool.room.store.fail("renew", times=1000)
    with heard(signals.lost) as lost:
        while not lost:
            pool.room.clock.advance(0.1)
            pool.room.keeper.tick()
    assert lease.deadline - pool.room.clock.now == pytest.approx(before, abs=0.11)


def test_an_outage_shorter_than_the_ttl_loses_nothing(pool: Pool, region: Region):
    """Not knowing is not losing."""
    pool.hold(on_lost=KILL)
    pool.children.look()
    pool.room.store.fail("renew", times=3)
    pass_time(pool.room, 60.0)
    assert pool.struck == []
    assert not news(region).is_lost


def test_a_parent_that_was_stopped_believes_its_children(pool: Pool, region: Region):
    """They have renewed their leases themselves meanwhile: nothing is lost, and it goes on from there."""
    lease = pool.hold(ttl=30.0, on_lost=KILL)
    pool.children.look()
    pool.room.clock.advance(29.0)
    pool.room.store.memory.renew([lease])
    region.tell_own(0, region.head(0), News(pool.room.clock.now + 30.0))
    pool.room.clock.advance(20.0)
    pass_time(pool.room, 60.0)
    assert pool.struck == []
    assert pool.room.holder(lease.key) == lease.owner
    assert news(region).deadline > pool.room.clock.now


def test_a_parent_that_looks_late_believes_its_children(pool: Pool, region: Region):
    """What it takes up has been renewed already."""
    lease = pool.hold()
    pool.room.clock.advance(29.0)
    pool.room.store.memory.renew([lease])
    region.tell_own(0, region.head(0), News(pool.room.clock.now + 30.0))
    pool.room.clock.advance(10.0)
    pool.children.look()
    pool.room.keeper.tick()
    assert pool.struck == []
    assert [each.remaining for each in pool.room.watched()] == [30.0]


def test_what_a_process_has_reported_itself(pool: Pool, region: Region):
    """Its loss is not reported again, nor is it told of that."""
    pool.hold()
    pool.children.look()
    region.tell_own(0, region.head(0), News(-math.inf, is_lost=True, reason="its ttl ran out", is_said=True))
    pool.room.clock.advance(60.0)
    with heard(signals.lost) as lost:
        pool.room.keeper.tick()
    assert (lost, pool.struck, pool.room.watched()) == ([], [], [])


def test_all_are_struck_before_anything_is_reported(pool: Pool, caplog):
    """Whoever listens may take long, and the log too."""
    for slot in range(20):
        pool.hold(slot, on_lost=KILL)
    pool.children.look()
    pool.room.clock.advance(60.0)
    seen: list[tuple[int, int]] = []

    def listens(_: object) -> None:
        seen.append((len(pool.struck), len(caplog.messages)))

    strike, struck = pool.children.deaths.strike, []
    for child in pool.children._held.values():
        child._strike = lambda pid, number: struck.append(len(caplog.messages)) or strike(pid, number)
    signals.lost.connect(listens)
    pool.room.keeper.tick()
    signals.lost.disconnect(listens)
    assert seen[0] == (20, 2)
    assert struck == [0] * 20


@pytest.mark.parametrize("state", [LEAVING, FREE])
def test_who_comes_after_a_lost_lease_is_not_struck(pool: Pool, region: Region, monkeypatch, state: int):
    """Its job ends as it is told of the loss: its process has another by then, and has heard of it."""
    pool.hold(on_lost=KILL)
    pool.children.look()
    tell = region.tell
    monkeypatch.setattr(region, "tell", lambda slot, head, said: (tell(slot, head, said), region.move(0, state)))
    pool.room.clock.advance(60.0)
    pool.room.keeper.tick()
    assert pool.struck == []
    assert news(region).is_lost
