"""What a process of a pool shows its parent, and what it does when that is silent."""

from __future__ import annotations

import logging
import math

import pytest

from celery_locks import LockLost, StoreUnavailable, parent
from celery_locks.board import CLAIMED, FREE, HELD, LEAVING, SLOTS, Board, News, Region
from celery_locks.interrupt import kill
from celery_locks.lease import Lease
from celery_locks.parent import FLAG, KILL, RAISE, Parent, adopt
from tests.unit.fakes import Room, in_child, pass_time


@pytest.fixture
def board() -> Board:
    return Board(1)


@pytest.fixture
def rings(board: Board, room: Room):
    """How often the parent was rung for; this process is its child meanwhile."""
    rings: list[float] = []
    room.keeper.is_inherited = True
    adopt(Parent(board, 0, lambda: rings.append(room.clock.now)))
    yield rings
    adopt(None)


@pytest.fixture
def region(board: Board, rings: list[float]) -> Region:
    assert rings, "its birth was told"
    rings.clear()
    return board.regions[0]


def enter(room: Room, key: str = "wallet:42", on_lost=None, beat: float | None = 10.0) -> Lease:
    lease = room.guard.enter(room.claim(key)._replace(task="shop.sync", task_id="an-id"), beat=beat, on_lost=on_lost)
    assert isinstance(lease, Lease)
    return lease


def tell(room: Room, region: Region, deadline: float, lost: str = "") -> None:
    """Do what a parent does after a beat."""
    region.tell(0, region.head(0), News(deadline, is_lost=bool(lost), reason=lost))
    region.end(0, room.clock.now)


def test_a_lease_is_shown_from_before_it_is_asked_for_until_it_is_given_back(room: Room, region: Region, monkeypatch):
    """Whatever may be held at any moment is on the board."""
    seen = []
    for verb in ("acquire", "release"):
        plain = getattr(room.store, verb)
        monkeypatch.setattr(
            room.store, verb, lambda claim, plain=plain: seen.append((region.state(0), region.entry(0))) or plain(claim)
        )
    lease = enter(room)
    term = region.term(0)
    assert (region.state(0), term) == (HELD, (lease.deadline, 10.0, lease.fence, FLAG))
    assert room.guard.leave(lease)
    assert [state for state, _ in seen] == [CLAIMED, LEAVING]
    assert region.state(0) == FREE
    [entry] = {entry for _, entry in seen}
    facts = (region.pid, room.keeper.number, "wallet:42", lease.owner, 30.0, "shop.sync", "an-id")
    assert entry == facts


def test_a_slot_is_used_again(room: Room, region: Region):
    """A thousand leases, one after the other, use one slot."""
    for _ in range(1000):
        room.guard.leave(enter(room))
    assert list(region.used()) == [0]


def test_what_is_not_granted_is_not_shown(room: Room, region: Region):
    """A key that is taken, a store that is down, an interrupt: nothing is left on the board."""
    thief = room.take()
    assert room.guard.run(room.claim(), lambda _: None, lambda _: "busy", beat=10.0) == "busy"
    assert region.state(0) == FREE
    room.free(thief)
    room.store.fail("acquire")
    assert room.guard.run(room.claim(), lambda _: None, lambda _: "down", beat=10.0) == "down"
    assert region.state(0) == FREE
    room.store.fail("acquire", KeyboardInterrupt(), done=True)
    with pytest.raises(KeyboardInterrupt):
        room.guard.run(room.claim(), lambda _: None, lambda _: None, beat=10.0)
    assert (region.state(0), room.holder()) == (FREE, None)


def test_nothing_is_left_when_the_release_has_no_answer(room: Room, region: Region):
    """The ttl ends it then, and the slot is free for the next."""
    room.store.fail("release")
    room.guard.run(room.claim(), lambda _: None, lambda _: None, beat=10.0)
    assert region.state(0) == FREE


@pytest.mark.parametrize(("on_lost", "mode"), [(None, FLAG), (lambda _: None, RAISE), (kill, KILL)])
def test_what_a_loss_does_is_shown(room: Room, region: Region, on_lost, mode: int):
    """The parent is told how the job is to end."""
    enter(room, on_lost=on_lost)
    term = region.term(0)
    assert term is not None
    assert term.on_lost == mode


@pytest.mark.usefixtures("region")
def test_the_parent_is_rung_for_when_it_would_come_too_late(room: Room, board: Board, rings):
    """One that looks before the first beat is due needs no ringing."""
    enter(room, "a")
    assert len(rings) == 1
    board.wakes_at = room.clock.now + 10.1
    enter(room, "b")
    assert len(rings) == 2
    board.wakes_at = room.clock.now + 9.9
    enter(room, "c")
    assert len(rings) == 2


def test_a_plain_lock_without_heartbeat_is_not_shown(room: Room, region: Region):
    """It may be meant to outlive its process; a job's, and one that beats, are not."""
    room.locks.lock("plain").acquire()
    assert list(region.used()) == []
    room.locks.lock("beating", heartbeat=True).acquire()
    enter(room, beat=None)
    assert [region.state(slot) for slot in region.used()] == [HELD, CLAIMED]


def test_a_keeper_that_the_parent_does_not_know(room: Room, region: Region):
    """One made after the fork keeps its leases itself."""
    room.keeper.is_inherited = False
    enter(room)
    assert list(region.used()) == []
    pass_time(room, 60.0)
    assert room.store.called("renew")


@pytest.mark.parametrize("attribute", ["in_process", "in_connection"])
def test_what_cannot_be_shared_is_not_shown(room: Room, region: Region, monkeypatch, attribute: str):
    """A lock that lives in this process is kept here."""
    monkeypatch.setattr(type(room.store), attribute, True)
    room.guard.__init__(room.store, clock=room.clock, keeper=room.keeper)  # type: ignore[misc]
    enter(room)
    assert list(region.used()) == []


@pytest.mark.parametrize("which", ["long", "many"])
def test_what_does_not_fit_is_kept_here(room: Room, region: Region, caplog, which: str):
    """A claim that is too long, and one too many, are renewed by a thread of the process, with one warning."""
    keys = ["x" * 2000, "y" * 2000] if which == "long" else [str(number) for number in range(SLOTS + 2)]
    leases = [enter(room, key) for key in keys]
    assert len(region.used()) == (0 if which == "long" else SLOTS)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "renewed by a thread of process" in caplog.text
    room.clock.advance(10.0)
    room.keeper.tick()
    assert room.store.called("renew") == [leases[-2:]]


# What is heard


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


@pytest.mark.usefixtures("region")
def test_the_parent_is_given_time_to_report(room: Room, caplog):
    """A lease whose time is over is not held; half a second later the process says so itself."""
    caplog.set_level(logging.WARNING)
    told: list[Lease] = []
    lease = enter(room, on_lost=told.append)
    room.store.fail("renew", times=1000)
    room.clock.advance(30.4)
    room.keeper.expire()
    assert not lease.held()
    assert told == []
    room.clock.advance(0.2)
    room.keeper.expire()
    assert told == [lease]
    assert "lost the lease" in caplog.text


# Renewed by hand


def test_a_renewal_by_hand_is_shown(room: Room, region: Region, rings):
    """The parent goes on with the new ttl, and beats as often in it."""
    lease = enter(room)
    before = region.head(0)
    rings.clear()
    room.clock.advance(3.0)
    lease.renew(300.0)
    entry, term = region.entry(0), region.term(0)
    assert entry is not None
    assert (entry.owner, entry.ttl) == (lease.owner, 300.0)
    assert term == (lease.deadline, 100.0, lease.fence, FLAG)
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
    entry = region.entry(0)
    assert entry is not None
    assert (lease.ttl, entry.ttl, region.state(0)) == (30.0, 30.0, HELD)


def test_a_renewal_by_hand_that_failed(room: Room, region: Region):
    """The parent keeps what there was."""
    lease = enter(room)
    room.store.fail("renew")
    with pytest.raises(StoreUnavailable):
        lease.renew(60.0)
    entry, term = region.entry(0), region.term(0)
    assert entry is not None
    assert term is not None
    assert (entry.ttl, term.interval, region.state(0)) == (30.0, 10.0, HELD)


def test_a_process_that_a_job_forks_shows_nothing(room: Room, region: Region):
    """It is not the worker's child, and its locks are not the parent's to keep."""
    assert in_child(lambda: enter(room)) == 0
    assert list(region.used()) == []
