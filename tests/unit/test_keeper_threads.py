"""The keeper's memory, its threads, and processes forked from under it."""

from __future__ import annotations

import threading
import time

from celery_locks import rounds
from celery_locks.keeper import Keeper
from celery_locks.lease import Claim
from celery_locks.stores.memory import MemoryStore
from celery_locks.ward import Ward
from tests.unit.fakes import Room, in_child
from tests.waiting import wait_until


def test_no_memory_is_left_behind(room: Room):
    """A thousand keys locked and released leave nothing in the keeper."""
    for number in range(1000):
        room.guard.run(room.claim(f"wallet:{number}"), lambda _: None, lambda refusal: refusal, beat=10.0)
    assert room.keeper._watched == {}


def test_lost_leases_leave_no_memory(room: Room, hold):
    """Reported, they are forgotten."""
    for number in range(10):
        hold(f"wallet:{number}")
    room.clock.advance(60.0)
    room.keeper.tick()
    assert room.keeper._watched == {}


def test_the_first_lease_starts_a_thread_that_beats():
    """The thread is a daemon, one for all leases, and renews by itself."""
    store = MemoryStore()
    keeper = Keeper(store)
    beaten = threading.Event()
    renew = store.renew
    store.renew = lambda leases: beaten.set() or renew(leases)
    leases = [store.acquire(Claim(key, key, 30.0)) for key in "ab"]
    for lease in leases:
        keeper.watch(lease, 0.005)
    thread = keeper._beats.thread
    assert thread.daemon
    assert beaten.wait(30.0)
    assert keeper._beats.thread is thread
    for lease in leases:
        keeper.forget(lease)


def test_a_thread_with_nothing_to_watch_ends(room: Room, monkeypatch):
    """When long idle it goes, and the next lease starts another."""
    monkeypatch.setattr("celery_locks.rounds.IDLE", 0.005)
    keeper = Keeper(room.store)
    lease = room.store.acquire(room.claim())
    keeper.watch(lease, 0.001)
    thread = keeper._beats.thread
    keeper.forget(lease)
    thread.join(30.0)
    assert not thread.is_alive()
    assert keeper._beats.thread is None


def test_a_forked_child_starts_afresh(room: Room, hold):
    """It has its own leases, its own thread, and beats for none of its parent's."""
    hold("the parents")

    def child():
        lease = room.store.acquire(room.claim("the childs"))
        room.keeper.watch(lease, 10.0)
        assert room.watched() == [lease]
        assert room.keeper._beats.thread is not threading.current_thread()

    assert in_child(child) == 0


def test_a_forked_child_does_not_hang_on_its_parents_mutex(room: Room, hold):
    """Forked while the keeper's thread held its mutex, a child can take leases."""
    hold("the parents")
    with room.keeper._mutex:
        status = in_child(lambda: room.keeper.watch(room.store.acquire(room.claim("the childs")), 10.0))
    assert status == 0


def test_a_forked_child_may_release_its_parents_lock(room: Room, hold):
    """Forked while the keeper's thread held its mutex, a child can give back what it inherited."""
    lease = hold("the parents")
    held, done = threading.Event(), threading.Event()

    def beat():
        with room.keeper._mutex:
            held.set()
            done.wait(30.0)

    thread = threading.Thread(target=beat)
    thread.start()
    held.wait(30.0)
    status = in_child(lambda: room.keeper.forget(lease))
    done.set()
    thread.join()
    assert status == 0


def test_a_loss_is_known_in_time_while_the_store_hangs():
    """A beat that waits for an answer does not keep the keeper from seeing that a lease's time is over."""
    store, asked, answer, lost = MemoryStore(), threading.Event(), threading.Event(), threading.Event()
    store.renew = lambda _: asked.set() or answer.wait(10.0) or []
    lease = store.acquire(Claim("wallet:42", "me", 0.2))
    Keeper(store).watch(lease, 0.05, lambda _: lost.set())
    assert asked.wait(30.0)
    assert lost.wait(30.0)
    assert not answer.is_set()
    answer.set()


def beats_of(store: MemoryStore) -> tuple[Keeper, list[str], threading.Condition]:
    """A keeper with threads, and the owners it has renewed so far."""
    seen: list[str] = []
    changed = threading.Condition()
    renew = store.renew

    def heard(leases):
        with changed:
            seen.extend(lease.owner for lease in leases)
            changed.notify_all()
        return renew(leases)

    store.renew = heard
    return Keeper(store), seen, changed


def asleep(keeper: Keeper) -> bool:
    with keeper._mutex:
        return keeper._beats.wakes_at > time.monotonic() + 5.0


def test_a_lease_with_less_time_wakes_a_sleeping_keeper():
    """It would sleep until the next beat of the lease it knows, too long for this one."""
    store = MemoryStore()
    keeper, seen, changed = beats_of(store)
    keeper.watch(store.acquire(Claim("long", "long", 30.0)), 10.0)
    wait_until(lambda: asleep(keeper), "the keeper to sleep")
    keeper.watch(store.acquire(Claim("short", "short", 5.0)), 0.01)
    with changed:
        assert changed.wait_for(lambda: "short" in seen, 5.0)


def test_a_lease_renewed_for_less_wakes_a_sleeping_keeper():
    """Its next beat has to come sooner than the keeper thought."""
    store = MemoryStore()
    keeper, seen, changed = beats_of(store)
    lease = store.acquire(Claim("long", "long", 30.0))
    keeper.watch(lease, 10.0)
    wait_until(lambda: asleep(keeper), "the keeper to sleep")
    keeper.renew(lease, 0.3)
    with changed:
        assert changed.wait_for(lambda: "long" in seen, 5.0)
    keeper.forget(lease)


def test_rounds_go_on_after_a_failure(monkeypatch, caplog):
    """Whatever a step raises is logged, and the thread does not end."""
    monkeypatch.setattr(rounds, "AFTER_FAILURE", 0.001)
    done = threading.Event()
    steps = []

    def step():
        steps.append(1)
        if len(steps) == 1:
            raise OverflowError("timeout is too large")
        done.set()

    mutex = threading.Lock()
    going = rounds.Rounds("keeper", mutex, step, lambda: None if done.is_set() else 0.0)
    with mutex:
        going.expect(0.0)
    assert done.wait(30.0)
    assert "keeper failed" in caplog.text


def test_a_lease_of_a_thousand_years_does_not_end_the_keeper():
    """A thread cannot wait that long at once: it looks again every now and then."""
    store = MemoryStore()
    keeper, seen, changed = beats_of(store)
    keeper.watch(store.acquire(Claim("long", "long", 1e11)), 1e10)
    wait_until(lambda: asleep(keeper), "the keeper to sleep")
    keeper.watch(store.acquire(Claim("short", "short", 5.0)), 0.01)
    with changed:
        assert changed.wait_for(lambda: "short" in seen, 5.0)


def test_two_threads_of_a_forked_child_may_begin_at_once(room: Room, hold):
    """Neither wipes out what the other has begun: the keeper starts afresh in the fork, before there are threads."""
    hold("the parents")

    def child():
        leases = [room.store.acquire(room.claim(f"key {number}")) for number in range(8)]
        threads = [threading.Thread(target=room.keeper.watch, args=(lease, 10.0)) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(map(id, room.watched())) == set(map(id, leases))

    assert in_child(child) == 0


def test_a_lease_that_is_watched_anew_is_not_forgotten(room: Room):
    """Its owner had another before, which is held no more and looked at in that very moment."""

    class Gone(Ward):
        """Held no more, from the second look on."""

        looks = 0

        def due(self, due: float) -> float | None:
            Gone.looks += 1
            if Gone.looks == 1:
                return due
            room.keeper.forget(first)
            room.keeper.watch(second, 10.0)
            return None

    first = room.store.acquire(room.claim(owner="me"))
    second = room.store.acquire(room.claim(owner="me"))
    room.keeper.watch(first, 10.0, ward=Gone())
    room.clock.advance(10.0)
    room.keeper.tick()
    assert room.watched() == [second]
