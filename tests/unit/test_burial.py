"""What the main process of a worker does when one of its pool has died: what that held is given back."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import pytest

from celery_locks import signals
from celery_locks.board import CLAIMED, FREE, LEAVING, Board, Region
from celery_locks.lease import Claim
from celery_locks.pool import burial
from celery_locks.pool.children import Children
from celery_locks.pool.deaths import Bell
from celery_locks.record import KILL, RAISE, Entry, News, Term
from celery_locks.ticket import Stance, Ticket
from tests.unit.fakes import Room, heard
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.unit.pools import Pool


@pytest.fixture
def region(pool: Pool) -> Region:
    return pool.board.regions[0]


def test_the_keys_of_the_dead_are_given_back(pool: Pool, region: Region, caplog):
    """Whatever it held, asked for or was giving back; not what others hold. It is said once a process.

    Nothing is said of what it was giving back: it may have done so.
    """
    mine = [pool.hold(slot, pid=7) for slot in range(5)]
    other = pool.hold(0, place=1)
    region.move(1, CLAIMED)
    region.move(2, LEAVING)
    pool.children.look()
    with heard(signals.freed) as freed:
        pool.children.bury(7)
        wait_until(lambda: len(freed) == 4, "four events")
    assert [event.owner for event in freed] == [lease.owner for lease in mine if lease is not mine[2]]
    assert {event.pid for event in freed} == {7}
    assert [region.state(slot) for slot in range(5)] == [FREE] * 5
    assert [pool.room.holder(lease.key) for lease in mine] == [None] * 5
    assert pool.room.holder(other.key) == other.owner
    assert [lease.key for lease in pool.room.watched()] == [other.key]
    assert caplog.messages == ["process 7 died and held 'wallet:0-0', 'wallet:0-1', 'wallet:0-3', ...: given back"]


def test_a_late_request_of_the_dead_is_undone(pool: Pool):
    """Its keys are given back once more a moment later, and that is not said again."""
    pool.hold(pid=7)
    with heard(signals.freed) as freed:
        burial.give_back(pool.left_by(7))
    assert len(pool.room.store.called("release")) == 2
    assert [event.key for event in freed] == ["wallet:0-0"]


def test_the_dead_own_nothing_any_more(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    """The store is told that its owners are no more, and whether one of them waits in line."""
    claim = Claim("wallet:42", "me", 30.0, "shop.sync", "an-id")
    pool.board.regions[1].claim(0, Entry(7, pool.room.keeper.number, *claim[:5], "a-ticket"))
    disowned: list[Claim] = []
    monkeypatch.setattr(pool.room.store, "disown", lambda each: disowned.append(each) or False)
    burial.give_back(pool.left_by(7))
    assert disowned == [claim._replace(ticket=Ticket("a-ticket", Stance.GOES))] * 2


def test_all_keys_of_the_dead_are_given_back(pool: Pool, caplog):
    """Those of a lease of several keys, once for all of them."""
    claim = Claim("a", "me", 30.0, "shop.sync", "an-id", others=("b", "c"))
    for key in ("a", "b"):
        pool.room.take(key, owner="me")
    pool.board.regions[1].claim(0, Entry(7, pool.room.keeper.number, *claim[:5], None, claim.others))
    with heard(signals.freed) as freed:
        burial.give_back(pool.left_by(7))
    assert [pool.room.holder(key) for key in claim.keys] == [None] * 3
    assert [(event.key, event.keys) for event in freed] == [("a", ("a", "b", "c"))]
    assert caplog.messages == ["process 7 died and held ['a', 'b', 'c']: given back"]


def test_a_store_that_hangs_holds_up_no_other(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    """What a process held in several stores is given back to all of them at once."""
    room, asked, go_on = pool.room, threading.Event(), threading.Event()
    other = Room()
    pool.hold(pid=7)
    claim = Claim("wallet:42", "me", 30.0)
    other.store.acquire(claim)
    pool.board.regions[0].claim(1, Entry(7, other.keeper.number, *claim[:5], None))
    monkeypatch.setattr(room.store, "disown", lambda _: asked.set() or go_on.wait(60.0))
    pool.children.bury(7)
    assert asked.wait(60.0)
    wait_until(lambda: other.holder() is None, "the key in the other store to be free")
    go_on.set()


def test_what_a_process_died_of_is_reported(pool: Pool, region: Region):
    """One that found its lease lost, while its parent was stopped, and ended itself for it."""
    pool.hold(pid=7, on_lost=KILL)
    pool.children.look()
    region.tell_own(0, region.head(0), News(-math.inf, is_lost=True, reason="its ttl ran out"))
    with heard(signals.lost) as lost:
        pool.children.bury(7)
        wait_until(lambda: lost, "an event")
    assert [(event.owner, event.reason) for event in lost] == [("owner of wallet:0-0", "its ttl ran out")]


def test_a_process_that_was_never_seen(pool: Pool, region: Region):
    """It took a key and died while its parent was busy: that sees who has its place now, and keeps no key for it."""
    dead = pool.hold(pid=7)
    region.settle(8)
    pool.children.look()
    assert pool.room.watched() == []
    assert region.state(0) == FREE
    wait_until(lambda: pool.room.holder(dead.key) is None, "its key to be free")


def test_a_process_with_the_number_of_the_dead(room: Room):
    """It is waited for: another process in the same place."""
    board, waited = Board(1), []
    family = Children(board, Bell(), room.clock)
    family.deaths.expect = waited.append  # type: ignore[method-assign]
    for _ in range(2):
        board.regions[0].settle(7)
        family.look()
        family.bury(7)
    assert waited == [7, 7]


def test_a_process_that_dies_as_it_renews_by_hand(pool: Pool, region: Region, monkeypatch: pytest.MonkeyPatch):
    """Its lease is half written, in its own hands: it is given back all the same, and the slot is free."""
    pool.hold(pid=7)
    pool.children.look()
    region.move(0, CLAIMED)
    monkeypatch.setattr(region, "_words", list(region._words))  # what it writes last is not written
    region.hold(0, Term(2000.0, 60.0, 20.0, 5, RAISE))
    monkeypatch.undo()
    monkeypatch.setattr(burial, "ONCE_MORE", 0.0)
    assert (region.state(0), region.term(0)) == (CLAIMED, None)
    burial.give_back(pool.left_by(7))
    assert pool.room.holder("wallet:0-0") is None
    assert region.state(0) == FREE


def test_a_store_that_is_down_when_a_process_dies(pool: Pool):
    """It is asked until it answers."""
    pool.hold(pid=7)
    pool.room.store.fail("release", times=4)
    with heard(signals.freed) as freed:
        burial.give_back(pool.left_by(7))
    assert pool.room.holder("wallet:0-0") is None
    assert len(pool.room.store.called("release")) == 5
    assert [event.key for event in freed] == ["wallet:0-0"]


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


def test_a_machine_without_a_thread_to_spare_still_gives_back(pool: Pool, region: Region, monkeypatch):
    """What held up the others for a moment is not lost for its whole ttl."""
    lease = pool.hold(0, pid=7)
    pool.children.look()

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    pool.children.bury(7)
    assert region.state(0) == FREE
    assert pool.room.store.inspect(lease.key) is None


def test_one_that_ends_waits_for_what_is_being_given_back(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    """As long as it may, also for what a thread that had no place gives back; and nothing of it is kept after that."""
    burial.await_done(30)  # what other tests have begun
    opened, began = threading.Event(), threading.Event()
    monkeypatch.setattr(burial, "give_back", lambda _left: began.set() or opened.wait(30))
    pool.hold(pid=7)
    pool.children.bury(7)
    assert began.wait(30)
    burial.await_done(0.0)
    [under_way] = burial._burying
    assert not under_way.is_set()
    threading.Timer(0.05, opened.set).start()
    burial.await_done(30)
    assert under_way.is_set()
    assert not burial._burying
