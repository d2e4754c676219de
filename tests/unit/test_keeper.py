"""The keeper: renews leases in batches, and reports a loss once."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from celery_locks import LockLost, StoreUnavailable, events, rounds, signals
from celery_locks.guard import Guard
from celery_locks.keeper import Keeper
from celery_locks.lease import Claim, Lease, State, Verdict
from celery_locks.stores.memory import MemoryStore
from tests.unit.fakes import Room, heard, in_child
from tests.waiting import wait_until


@pytest.fixture
def hold(room: Room):
    """Take a key and watch its lease, with a beat every ten seconds."""

    def take(key: str = "wallet:42", *, ttl: float = 30.0, interval: float = 10.0, on_lost=None) -> Lease:
        lease = room.store.acquire(room.claim(key, ttl=ttl))
        assert isinstance(lease, Lease)
        room.keeper.watch(lease, interval, on_lost)
        return lease

    return take


def pass_time(room: Room, seconds: float, step: float = 0.5) -> None:
    """Let time go by with the keeper awake, as its thread would be."""
    for _ in range(round(seconds / step)):
        room.clock.advance(step)
        room.keeper.tick()


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


# Not knowing


def test_a_beat_without_answer_is_no_loss(room: Room, hold):
    """Unknown is not lost: nobody is told, and the lease is held."""
    told = []
    lease = hold(on_lost=told.append)
    room.store.fail("renew")
    room.clock.advance(10.0)
    room.keeper.tick()
    assert lease.state is State.UNKNOWN
    assert lease.held()
    assert told == []


def test_a_beat_without_answer_is_tried_again_soon(room: Room, hold):
    """Not after a whole interval: a quarter of it later."""
    lease = hold()
    room.store.fail("renew")
    room.clock.advance(10.0)
    room.keeper.tick()
    room.clock.advance(2.5)
    room.keeper.tick()
    assert len(room.store.called("renew")) == 2
    assert lease.state is State.HELD


def test_an_outage_shorter_than_the_ttl_loses_nothing(room: Room, hold):
    """The store is away for most of the lease, and comes back."""
    lease = hold()
    pass_time(room, 10.0)
    room.store.fail("renew", times=7)
    pass_time(room, 28.0)
    assert lease.held()
    pass_time(room, 60.0)
    assert lease.state is State.HELD


def test_an_outage_as_long_as_the_ttl_is_a_loss(room: Room, hold):
    """When the lease's time is over without an answer, its job is told at once and not before."""
    told = []
    lease = hold(on_lost=lambda lease: told.append((lease, room.clock.now)))
    room.store.fail("renew", times=1000)
    deadline = lease.deadline
    pass_time(room, 60.0)
    assert told == [(lease, deadline)]
    assert lease.reason == "its ttl ran out before it could be renewed"


def test_the_last_try_is_before_the_lease_ends(room: Room, hold):
    """A store that answers again in the last part of the lease saves it."""
    lease = hold()
    room.store.fail("renew", times=1000)
    pass_time(room, 27.0)
    room.store._errors.clear()
    pass_time(room, 2.5)
    assert lease.state is State.HELD


def test_a_keeper_that_wakes_too_late_reports_a_loss(room: Room, hold):
    """After a stop longer than the ttl the lease is not renewed behind another holder's back."""
    told = []
    lease = hold(on_lost=told.append)
    room.clock.advance(31.0)
    room.keeper.tick()
    assert told == [lease]
    assert room.store.called("renew") == []


def test_a_late_answer_does_not_save_a_lost_lease(room: Room, hold):
    """A renewal that arrives after the loss was reported changes nothing."""
    lease = hold()
    room.clock.advance(31.0)
    room.keeper.tick()
    lease.extend(room.clock.now + 30.0)
    assert not lease.held()


def test_an_outage_is_said_for_every_lease(room: Room, hold):
    """Each with its key, during renew."""
    hold("a")
    hold("b")
    room.store.fail("renew")
    with heard(signals.outage) as said:
        pass_time(room, 10.0)
    assert [(event.key, event.during) for event in said] == [("a", "renew"), ("b", "renew")]


@pytest.fixture
def unsure(room: Room):
    """Make the store unable to say anything of some keys; give the set of them."""
    keys, renew = set(), room.store.memory.renew

    def said(leases):
        verdicts = zip(leases, renew(leases), strict=True)
        return [Verdict.UNKNOWN if lease.key in keys else verdict for lease, verdict in verdicts]

    room.store.memory.renew = said
    return keys


def test_a_store_may_be_unsure_of_some(room: Room, hold, unsure):
    """A lease it cannot tell of is in doubt and tried again soon; those renewed in the same call are held."""
    doubted, kept = hold("a"), hold("b")
    unsure.add("a")
    room.clock.advance(10.0)
    with heard(signals.outage) as said:
        room.keeper.tick()
    assert (doubted.state, kept.state) == (State.UNKNOWN, State.HELD)
    assert [(event.key, event.during) for event in said] == [("a", "renew")]
    unsure.clear()
    room.clock.advance(2.5)
    room.keeper.tick()
    assert room.store.called("renew") == [[doubted, kept], [doubted]]
    assert doubted.state is State.HELD


def test_a_store_that_stays_unsure_of_one_loses_that_one(room: Room, hold, unsure):
    """When its time is over, and no other."""
    lost, kept = hold("a"), hold("b")
    unsure.add("a")
    pass_time(room, 100.0)
    assert lost.reason == "its ttl ran out before it could be renewed"
    assert kept.state is State.HELD


def test_leases_in_doubt_are_renewed_after_the_others(room: Room, hold, unsure):
    """Whoever is slow to say nothing of one lease does not keep the others waiting."""
    first, second = hold("a"), hold("b")
    unsure.add("a")
    room.clock.advance(10.0)
    room.keeper.tick()
    room.clock.advance(10.0)
    room.keeper.tick()
    assert room.store.called("renew") == [[first, second], [second], [first]]


def test_a_renewal_by_hand_of_which_nothing_is_known_is_an_outage(room: Room, hold, unsure):
    """It neither succeeded nor failed, and the lease has its own ttl again."""
    lease = hold("a")
    unsure.add("a")
    with pytest.raises(StoreUnavailable, match="did not answer"):
        room.keeper.renew(lease, 60.0)
    assert (lease.state, lease.ttl) == (State.UNKNOWN, 30.0)
    unsure.clear()
    assert room.keeper.renew(lease, 60.0)
    assert lease.state is State.HELD


def test_a_renewal_by_hand_of_a_lease_in_doubt_may_find_it_lost(room: Room, hold, unsure):
    """Then the store has said so, and it is in doubt no more."""
    lease = hold("a")
    unsure.add("a")
    room.clock.advance(10.0)
    room.keeper.tick()
    unsure.clear()
    room.steal("a")
    assert not room.keeper.renew(lease, 60.0)


@pytest.mark.parametrize("error", [StoreUnavailable("down"), RuntimeError("a bug"), OSError(5, "io")], ids=repr)
def test_an_error_in_a_beat_does_not_end_the_beating(room: Room, hold, error):
    """Whatever the store raises, the next beat comes."""
    lease = hold()
    room.store.fail("renew", error)
    pass_time(room, 60.0)
    assert lease.state is State.HELD


def test_a_store_with_too_few_answers_does_not_end_the_beating(room: Room, hold):
    """A store that breaks its contract is an error like others."""
    lease = hold()
    renew, answers = room.store.memory.renew, iter([[]])
    room.store.memory.renew = lambda leases: next(answers, None) or renew(leases)
    room.clock.advance(10.0)
    room.keeper.tick()
    assert lease.state is not State.LOST


def test_an_unexpected_error_is_logged_with_its_trace(room: Room, hold, caplog):
    """An outage is one line; a bug shows where it is."""
    hold()
    room.store.fail("renew", StoreUnavailable("down"))
    room.store.fail("renew", RuntimeError("a bug"))
    with caplog.at_level(logging.WARNING, "celery_locks.keeper"):
        pass_time(room, 20.0)
    outage, bug = [record for record in caplog.records if record.name == "celery_locks.keeper"]
    assert not outage.exc_info
    assert bug.exc_info[0] is RuntimeError


# Memory, threads and processes


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
    assert beaten.wait(5.0)
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
    thread.join(5.0)
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
            done.wait(5.0)

    thread = threading.Thread(target=beat)
    thread.start()
    held.wait(5.0)
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
    assert asked.wait(5.0)
    assert lost.wait(5.0)
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
        return keeper._beats._wakes_at > time.monotonic() + 5.0


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


class SlowStore(MemoryStore):
    """Its answer to the keeper's first beat comes when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.beating, self.go_on = threading.Event(), threading.Event()

    def renew(self, leases):
        asked = [Lease(lease.claim._replace(ttl=lease.ttl), lease.fence, lease.deadline) for lease in leases]
        if threading.current_thread().name == "celery_locks-keeper" and not self.beating.is_set():
            self.beating.set()
            self.go_on.wait(5.0)
        return super().renew(asked)


def test_a_renewal_by_hand_waits_for_the_beat_under_way():
    """Were it overtaken by that beat, the store would end the lease sooner than its holder believes."""
    store = SlowStore()
    guard = Guard(store)
    lease = guard.enter(Claim("wallet:42", "me", 30.0), beat=0.001)
    assert store.beating.wait(5.0)
    by_hand = threading.Thread(target=lease.renew, args=(3600.0,))
    by_hand.start()
    store.go_on.set()
    by_hand.join(5.0)
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
    assert done.wait(5.0)
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
