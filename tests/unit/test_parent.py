"""What a process of a pool shows its parent."""

from __future__ import annotations

import pytest

from celery_locks.board import CLAIMED, FREE, HELD, LEAVING, SLOTS, Board, Region
from celery_locks.interrupt import kill
from celery_locks.pool.child import Child
from celery_locks.record import FLAG, KILL, RAISE
from tests.unit.fakes import Room, in_child, pass_time
from tests.unit.pools import enter


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
    assert (region.state(0), term) == (HELD, (lease.deadline, 30.0, 10.0, lease.fence, FLAG, lease.until))
    assert room.guard.leave(lease)
    assert [state for state, _ in seen] == [CLAIMED, LEAVING]
    assert region.state(0) == FREE
    [entry] = {entry for _, entry in seen}
    facts = (region.pid, room.keeper.number, "wallet:42", lease.owner, 30.0, "shop.sync", "an-id", None, ())
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


def test_what_a_process_made_itself_is_kept_here(room: Room, region: Region, caplog):
    """Its parent does not know that store: a thread renews, with one warning, and none for what is not renewed."""
    room.keeper.is_inherited = False
    for key, beat in (("a", None), ("b", 10.0), ("c", 10.0)):
        room.guard.enter(room.claim(key), beat=beat)
        assert ("Locks was made in a process of the pool" in caplog.text) is (beat is not None or key == "c")
    assert list(region.used()) == []
    assert len(caplog.records) == 1


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


def test_a_process_that_a_job_forks_shows_nothing(room: Room, region: Region):
    """It is not the worker's child, and its locks are not the parent's to keep."""
    assert in_child(lambda: enter(room)) == 0
    assert list(region.used()) == []


def test_a_claim_that_cannot_be_shown_leaves_its_slot(room: Room, region: Region, monkeypatch):
    """Whatever strikes there: the slot is used again."""
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with monkeypatch.context() as patch:
            patch.setattr(Region, "claim", lambda *_, error=error: [][error()])
            with pytest.raises(TypeError):
                enter(room)
    enter(room)
    assert list(region.used()) == [0]


@pytest.mark.parametrize(("on_lost", "before"), [(kill, 2.0), (lambda _: None, 0.0)])
def test_without_a_parent_too_a_process_ends_before_another_can_have_the_key(room: Room, on_lost, before: float):
    """What ends a process takes its time. A job that is interrupted has until the end of its lease."""
    room.keeper.is_inherited = False
    lease = enter(room, on_lost=on_lost)
    [watched] = room.keeper._watched.values()
    told: list[float] = []
    watched.on_lost = lambda _: told.append(lease.deadline - room.clock.now)
    room.store.fail("renew", times=1000)
    for _ in range(1000):
        if told:
            break
        room.clock.advance(0.05)
        room.keeper.tick()
    assert told == [pytest.approx(before, abs=0.06)]


def test_a_lease_of_several_keys_is_shown_and_renewed_with_all_of_them(room: Room, region: Region):
    """What the parent makes of it is renewed for each of its keys, by the owner's name alone."""
    claim = room.claim("a")._replace(task="shop.sync", others=("b",))
    lease = room.guard.enter(claim, beat=10.0)
    entry, term = region.entry(0), region.term(0)
    assert (entry.key, entry.others, term.fence) == ("a", ("b",), lease.fence_of("a"))
    child = Child(region, 0, entry, term, strike=lambda *_: None, clock=room.clock)
    room.clock.advance(20.0)
    child.keeper = room.keeper
    assert room.keeper.renew(child.lease, 30.0)
    assert [room.store.memory.inspect(key).remaining for key in ("a", "b")] == [30.0, 30.0]
    assert room.guard.leave(lease)
    assert [room.holder(key) for key in ("a", "b")] == [None, None]


def test_a_store_that_renews_by_fences_keeps_several_keys_itself(room: Room, region: Region):
    """The board has room for one fence. What it holds is on the board all the same, for when it dies."""
    room.guard.care._needs_all_fences = True
    lease = room.guard.enter(room.claim("a")._replace(task="shop.sync", others=("b",)), beat=10.0)
    assert region.state(0) == CLAIMED
    assert room.watched() == [lease]
    assert region.entry(0).others == ("b",)
