"""The keeper: beats, losses, and renewals by hand."""

from __future__ import annotations

import threading

import pytest

from celery_locks import LockLost, StoreUnavailable, events, signals
from celery_locks.guard import Guard
from celery_locks.lease import Claim, Lease, State
from celery_locks.stores.memory import MemoryStore
from tests.unit.fakes import Room, heard, pass_time


def test_nothing_is_renewed_before_it_is_due(room: Room, hold):
    """A beat comes when its interval is over, not before."""
    hold()
    room.clock.advance(7.9)
    room.keeper.tick()
    assert room.store.called("renew") == []


def test_a_lease_that_is_due_is_renewed(room: Room, hold):
    """At its interval it gets its full ttl again."""
    lease = hold()
    room.clock.advance(10.0)
    room.keeper.tick()
    assert room.store.called("renew") == [[lease]]
    assert lease.remaining == pytest.approx(30.0)


def test_a_kept_lease_outlives_its_ttl(room: Room, hold):
    """As long as somebody beats, the key stays taken."""
    lease = hold()
    pass_time(room, 300.0)
    assert lease.held()
    assert room.holder() == lease.owner


def test_a_lease_is_beaten_once_an_interval(room: Room, hold):
    """Not more often than asked, and on time."""
    hold()
    pass_time(room, 100.0)
    assert len(room.store.called("renew")) == pytest.approx(10, abs=1)


def test_many_leases_are_one_round_trip(room: Room, hold):
    """A hundred leases due together are renewed by one call."""
    leases = [hold(f"wallet:{number}") for number in range(100)]
    room.clock.advance(10.0)
    room.keeper.tick()
    assert room.store.called("renew") == [leases]


def test_leases_due_soon_come_along(room: Room, hold):
    """What would be due within a fifth of its interval is renewed in the same call."""
    first = hold("a")
    room.clock.advance(1.9)
    second = hold("b")
    room.clock.advance(3.0)
    hold("c")
    room.clock.advance(5.1)
    room.keeper.tick()
    assert room.store.called("renew") == [[first, second]]


def test_a_renewal_is_counted_from_before_its_request(room: Room, hold):
    """A slow answer makes no lease longer than the store's."""
    lease = hold()
    room.clock.advance(10.0)
    room.store.delay("renew", 4.0)
    room.keeper.tick()
    assert lease.remaining == pytest.approx(26.0)


# Losses


def test_a_lease_the_store_denies_is_lost(room: Room, hold):
    """Its job is told, by its own lease and by a call."""
    told = []
    lease = hold(on_lost=told.append)
    room.steal()
    room.clock.advance(10.0)
    room.keeper.tick()
    assert lease.state is State.LOST
    assert told == [lease]
    with pytest.raises(LockLost, match="the store says that it expired or was taken away"):
        lease.ensure_held()


def test_a_loss_is_reported_once(room: Room, hold):
    """One call, one signal, one log line, and no beat any more."""
    told = []
    lease = hold(on_lost=told.append)
    room.steal()
    with heard(signals.lost) as said:
        pass_time(room, 100.0)
    assert told == [lease]
    assert said == [events.Lost("wallet:42", lease.owner, lease.fence, lease.reason)]
    assert len(room.store.called("renew")) == 1


def test_a_loss_names_its_job(room: Room):
    """The signal of a loss has the task and its id."""
    lease = room.store.acquire(Claim("wallet:42", "me", 30.0, "bank.withdraw", "7"))
    room.keeper.watch(lease, 10.0)
    room.steal()
    with heard(signals.lost) as said:
        pass_time(room, 11.0)
    assert [(event.task, event.task_id) for event in said] == [("bank.withdraw", "7")]


def test_the_loss_of_one_is_not_the_loss_of_others(room: Room, hold):
    """Those renewed in the same call are held."""
    lost, kept = hold("a"), hold("b")
    room.steal("a")
    pass_time(room, 60.0)
    assert (lost.held(), kept.held()) == (False, True)


def test_a_lease_released_meanwhile_is_not_lost(room: Room, hold):
    """Given back between the beat's request and its answer: its being gone is no loss."""
    told = []
    lease = hold(on_lost=told.append)
    renew = room.store.memory.renew

    def release_first(leases):
        room.guard.leave(lease)
        return renew(leases)

    room.store.memory.renew = release_first
    with heard(signals.lost) as said:
        pass_time(room, 11.0)
    assert (told, said, lease.state) == ([], [], State.RELEASED)


def test_a_released_lease_is_not_renewed(room: Room, hold):
    """After it was given back nothing is sent for it."""
    lease = hold()
    room.guard.leave(lease)
    pass_time(room, 60.0)
    assert room.store.called("renew") == []


def test_forgetting_a_stranger_does_nothing(room: Room, hold):
    """A lease without a beat is forgotten as well."""
    kept = hold()
    room.keeper.forget(Lease(Claim("x", "nobody", 1.0), 1, None))
    assert room.watched() == [kept]


def test_a_call_that_fails_harms_no_other(room: Room, hold, caplog):
    """What telling one job raises is logged, and the next is told."""
    told = []

    def fail(_lease):
        raise ZeroDivisionError

    hold("a", on_lost=fail)
    second = hold("b", on_lost=told.append)
    room.steal("a")
    room.steal("b")
    pass_time(room, 11.0)
    assert told == [second]
    assert "telling the job that the lease of 'a' is lost failed" in caplog.text


# Renewals by hand


class SlowStore(MemoryStore):
    """Its answer to the keeper's first beat comes when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.beating, self.go_on = threading.Event(), threading.Event()

    def renew(self, leases):
        asked = [Lease(lease.claim._replace(ttl=lease.ttl), lease.fence, lease.deadline) for lease in leases]
        if threading.current_thread().name == "celery_locks-keeper" and not self.beating.is_set():
            self.beating.set()
            self.go_on.wait(30.0)
        return super().renew(asked)


def test_a_renewal_by_hand_waits_for_the_beat_under_way():
    """Were it overtaken by that beat, the store would end the lease sooner than its holder believes."""
    store = SlowStore()
    guard = Guard(store)
    lease = guard.enter(Claim("wallet:42", "me", 30.0), beat=0.001)
    assert store.beating.wait(30.0)
    by_hand = threading.Thread(target=lease.renew, args=(3600.0,))
    by_hand.start()
    store.go_on.set()
    by_hand.join(30.0)
    assert store.inspect("wallet:42").remaining == pytest.approx(lease.remaining, abs=5.0)
    assert lease.remaining > 3000.0
    guard.leave(lease)


def test_a_shorter_renewal_whose_answer_is_lost_counts_at_once(room: Room, hold):
    """The store may have shortened the lease: its holder must not believe in the longer one."""
    lease = hold(ttl=30.0)
    room.store.fail("renew", done=True)
    with pytest.raises(StoreUnavailable):
        room.keeper.renew(lease, 5.0)
    assert lease.remaining == pytest.approx(5.0)
    room.keeper.tick()
    assert lease.remaining == pytest.approx(30.0)
    assert room.store.inspect(lease.key).remaining == pytest.approx(30.0)


def test_a_renewal_whose_answer_is_lost_changes_nothing_else(room: Room, hold):
    """The ttl stays what it was, and the lease stays held: the renewal may be tried again."""
    lease = hold(ttl=30.0)
    room.store.fail("renew")
    with pytest.raises(StoreUnavailable):
        room.keeper.renew(lease, 60.0)
    assert lease.ttl == 30.0
    assert lease.held()


def test_a_beat_tells_how_long_it_took(room: Room, hold):
    """Once for all leases that were due, and only when there was an answer."""
    hold("wallet:1")
    hold("wallet:2")
    with heard(signals.beat) as told:
        room.clock.advance(10)
        room.store.delay("renew", 0.5)
        room.keeper.tick()
        room.clock.advance(10)
        room.store.fail("renew")
        room.keeper.tick()
    [event] = told
    assert (event.key, event.leases, event.took) == ("wallet:1", 2, 0.5)
