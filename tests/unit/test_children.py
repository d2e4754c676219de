"""What the main process of a worker makes of the board: who is kept, who is told, who is buried."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys

import pytest

from celery_locks import signals
from celery_locks.board import CLAIMED, FREE, HELD, LEAVING, Board, Region, Term
from celery_locks.lease import Claim, Lease
from celery_locks.parent import FLAG, KILL, RAISE
from celery_locks.worker import children, deaths
from celery_locks.worker.children import Children
from celery_locks.worker.deaths import Bell, Deaths
from tests.unit.fakes import Room, heard, pass_time
from tests.waiting import wait_until

ME = os.getpid()


class Pool:
    """A board, its children, and the signals they were sent."""

    def __init__(self, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = room
        self.board = Board(3)
        self.children = Children(self.board, Bell(), room.clock)
        self.struck: list[tuple[int, int]] = []
        self.children.deaths.strike = lambda pid, number: self.struck.append((pid, number))  # type: ignore[method-assign]
        monkeypatch.setattr(children, "ONCE_MORE", 0.0)

    def hold(self, slot: int = 0, *, place: int = 0, ttl: float = 30.0, on_lost: int = RAISE, pid: int = ME) -> Lease:
        """Do what a process does that takes a key."""
        region, key = self.board.regions[place], f"wallet:{place}-{slot}"
        region.settle(pid)
        claim = Claim(key, f"owner of {key}", ttl)
        region.claim(slot, (pid, self.room.keeper.number, *claim[:5]))
        lease = self.room.store.acquire(claim)
        assert isinstance(lease, Lease)
        region.hold(slot, Term(lease.deadline or 0.0, ttl / 3, lease.fence, on_lost))
        return lease


@pytest.fixture
def pool(room: Room, monkeypatch: pytest.MonkeyPatch) -> Pool:
    return Pool(room, monkeypatch)


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


# Loss


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


# Death


def test_the_keys_of_the_dead_are_given_back(pool: Pool, region: Region, caplog):
    """Whatever it held, asked for or was giving back; not what others hold. It is said once a process."""
    mine = [pool.hold(slot, pid=7) for slot in range(5)]
    other = pool.hold(0, place=1)
    region.move(1, CLAIMED)
    region.move(2, LEAVING)
    pool.children.look()
    with heard(signals.freed) as freed:
        pool.children.bury(7)
        wait_until(lambda: len(freed) == 5, "five events")
    assert [event.owner for event in freed] == [lease.owner for lease in mine]
    assert {event.pid for event in freed} == {7}
    assert [region.state(slot) for slot in range(5)] == [FREE] * 5
    assert [pool.room.holder(lease.key) for lease in mine] == [None] * 5
    assert pool.room.holder(other.key) == other.owner
    assert [lease.key for lease in pool.room.watched()] == [other.key]
    assert caplog.messages == ["process 7 died and held 'wallet:0-0', 'wallet:0-1', 'wallet:0-2', ...: given back"]


def test_a_late_request_of_the_dead_is_undone(pool: Pool, region: Region):
    """Its keys are given back once more a moment later, and that is not said again."""
    pool.hold(pid=7)
    children._give_back([region.entry(0)])
    assert len(pool.room.store.called("release")) == 2


def test_a_store_that_is_down_when_a_process_dies(pool: Pool, region: Region):
    """It is asked until it answers."""
    pool.hold(pid=7)
    pool.room.store.fail("release", times=4)
    children._give_back([region.entry(0)])
    assert pool.room.holder("wallet:0-0") is None
    assert len(pool.room.store.called("release")) == 5


def test_a_process_in_the_place_of_a_dead_one(pool: Pool, region: Region):
    """It leaves what its predecessor held, which is still given back."""
    dead = pool.hold(pid=7)
    free = region.settle(8)
    assert 0 not in free
    pool.children.bury(7)
    wait_until(lambda: pool.room.holder(dead.key) is None, "its key to be free")


def test_a_place_of_the_dead_is_left_alone(room: Room):
    """Until another process takes it: nobody waits for a death that was told."""
    pool_board, waited = Board(2), []
    family = Children(pool_board, Bell(), room.clock)
    family.deaths.expect = waited.append  # type: ignore[method-assign]
    pool_board.regions[0].settle(7)
    family.look()
    family.bury(7)
    family.look()
    assert waited == [7]
    pool_board.regions[0].settle(8)
    family.look()
    assert waited == [7, 8]


def new_process() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


@pytest.fixture(params=["descriptors", "looking"])
def watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Deaths:
    """Deaths as Linux tells of them, and as they are found elsewhere."""
    if request.param == "looking":
        monkeypatch.setattr(deaths, "_descriptor", lambda _: None)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no descriptors of processes")
    return Deaths(Bell())


def test_a_death_is_told(watch: Deaths):
    """Once, and only of the one that died."""
    with new_process() as first, new_process() as second:
        for process in (first, second, first, second):
            known = watch._fds.get(process.pid)
            watch.expect(process.pid)
            assert known in (None, watch._fds[process.pid])
        assert watch.wait(0.0) == []
        watch.strike(first.pid, signal.SIGKILL)
        first.wait()
        assert watch.wait(10.0) == [first.pid]
        assert watch.wait(0.0) == []
        second.kill()


def test_who_is_dead_already(watch: Deaths):
    """It is told at the next look."""
    with new_process() as process:
        process.kill()
    watch.expect(process.pid)
    assert watch.wait(10.0) == [process.pid]
    watch.strike(process.pid, signal.SIGKILL)


def test_the_bell_wakes(watch: Deaths):
    """However often it was rung meanwhile, once; a full pipe does not stop the ringing."""
    for _ in range(100_000):
        watch._bell.ring()
    assert watch.wait(60.0) == []
    poll = deaths.select.poll()
    poll.register(watch._bell.fd, deaths.select.POLLIN)
    assert poll.poll(0) == []


def test_a_held_slot_is_as_it_was(pool: Pool, region: Region):
    """To look changes nothing."""
    pool.hold()
    head = region.head(0)
    pool.children.look()
    assert (region.head(0), region.state(0)) == (head, HELD)
