"""The flow: take the key, keep it, do the work, give it back."""

from __future__ import annotations

import logging

import pytest

from celery_locks import LockLost, StoreUnavailable, current_lease, events, signals
from celery_locks.lease import Busy, Claim, Lease, State
from celery_locks.patience import pauses
from tests.unit.fakes import START, Room, heard


def refuse(refusal):
    """What a test's work does without a lease: show why."""
    return refusal


# Taking the key


def test_a_free_key_is_taken(room: Room):
    """The work runs while its owner has the key, and its result is the result."""
    claim = room.claim()
    assert room.guard.run(claim, lambda _: room.holder(), refuse) == claim.owner


def test_the_key_is_free_after_the_work(room: Room):
    """The work done, the key is given back."""
    room.guard.run(room.claim(), lambda _: None, refuse)
    assert room.holder() is None


def test_the_work_has_its_lease(room: Room):
    """The lease is handed to the work and is the current one."""
    lease = room.guard.run(room.claim(), lambda lease: (lease, current_lease()), refuse)
    assert lease[0] is lease[1]


def test_uncontended_work_costs_two_round_trips(room: Room):
    """One to take the key, one to give it back, nothing else."""
    room.guard.run(room.claim(), lambda _: None, refuse)
    assert [verb for verb, _ in room.store.calls] == ["acquire", "release"]


def test_work_that_fails_gives_the_key_back(room: Room):
    """The error is the work's, and the key is free."""
    with pytest.raises(ZeroDivisionError):
        room.guard.run(room.claim(), lambda _: 1 / 0, refuse)
    assert room.holder() is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_work_that_is_ended_gives_the_key_back(room: Room, kind):
    """Also what is no `Exception` leaves no key behind."""

    def job(_lease):
        raise kind

    with pytest.raises(kind):
        room.guard.run(room.claim(), job, refuse)
    assert room.holder() is None


def test_a_taken_key_is_an_answer(room: Room):
    """Contention goes to `otherwise`, with the holder and the time its lease has left, and the work does not run."""
    room.take(owner="somebody", ttl=20.0)
    ran = []
    assert room.guard.run(room.claim(), ran.append, refuse) == Busy("somebody", 20.0)
    assert ran == []


def test_a_refused_claim_leaves_the_holder_alone(room: Room):
    """Who was refused releases nothing."""
    room.take(owner="somebody")
    room.guard.run(room.claim(), lambda _: None, refuse)
    assert room.holder() == "somebody"
    assert room.store.called("release") == []


# Waiting


def test_no_wait_is_one_look(room: Room):
    """With `wait=0` a taken key is looked at once, and nothing sleeps."""
    room.take()
    room.guard.enter(room.claim(), wait=0.0)
    assert len(room.store.called("acquire")) == 1
    assert room.clock.slept == []


def test_a_key_freed_meanwhile_is_taken(room: Room):
    """Who waits gets the key soon after it is free."""
    holder = room.take()
    room.clock.later(1.0, lambda: room.free(holder))
    lease = room.guard.enter(room.claim(), wait=5.0)
    assert isinstance(lease, Lease)
    assert room.clock.now - START == pytest.approx(1.0, abs=0.25)


def test_a_wait_is_bounded(room: Room):
    """A key that stays taken is given up exactly when the wait is over, not after the next pause."""
    room.take(ttl=1000.0)
    assert isinstance(room.guard.enter(room.claim(), wait=5.0), Busy)
    assert room.clock.now - START == pytest.approx(5.0)


def test_the_last_look_is_at_the_end_of_the_wait(room: Room):
    """A key freed in the very last moment is taken."""
    holder = room.take(ttl=1000.0)
    room.clock.later(5.0, lambda: room.free(holder))
    assert isinstance(room.guard.enter(room.claim(), wait=5.0), Lease)


def test_none_waits_for_ever(room: Room):
    """`wait=None` outlasts any holder."""
    holder = room.take(ttl=10_000.0)
    room.clock.later(300.0, lambda: room.free(holder))
    assert isinstance(room.guard.enter(room.claim(), wait=None), Lease)


@pytest.mark.parametrize("ttl", [0.1, 2.9, 3.0, 3.1])
def test_a_waiter_takes_an_expired_key_at_once(room: Room, ttl):
    """It sleeps no longer than the holder's lease lasts, whatever its own ttl is."""
    room.take(ttl=ttl)
    assert isinstance(room.guard.enter(room.claim(ttl=300.0), wait=5.0), Lease)
    assert room.clock.now - START == pytest.approx(ttl, abs=0.002)


def test_a_waiter_does_not_spin(room: Room):
    """Ten minutes of waiting ask the store a few times a second, not more."""
    room.take(ttl=10_000.0)
    room.guard.enter(room.claim(), wait=600.0)
    assert len(room.store.called("acquire")) < 600 * 8


def test_a_waiter_does_not_spin_at_the_end_of_a_lease(room: Room):
    """A store that says the lease has no time left is still not asked in a tight loop."""
    room.take(ttl=10_000.0)
    room.store.memory.acquire = lambda _: Busy("somebody", 0.0)
    room.guard.enter(room.claim(), wait=1.0)
    assert min(room.clock.slept[:-1]) >= 0.001


def test_pauses_grow_to_a_bound_and_differ():
    """From milliseconds to a quarter of a second, each shortened by chance."""
    found = [pause for _, pause in zip(range(40), pauses(), strict=False)]
    assert 0.0025 <= found[0] <= 0.0051
    assert all(0.12 <= pause <= 0.251 for pause in found[20:])
    assert len(set(found[20:])) > 5


def test_all_looks_of_one_claim_have_one_owner(room: Room):
    """A waiter asks again under its own name, so that a lost answer is found."""
    holder = room.take()
    room.clock.later(1.0, lambda: room.free(holder))
    claim = room.claim()
    room.guard.enter(claim, wait=5.0)
    assert set(room.store.called("acquire")) == {claim}


# Interruptions


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupted_acquire_leaves_no_key(room: Room, kind):
    """A soft time limit or Ctrl-C while the answer was on its way: the key that may have been taken is given back."""
    room.store.fail("acquire", kind(), done=True)
    with pytest.raises(kind):
        room.guard.run(room.claim(), lambda _: None, refuse)
    assert room.holder() is None


def test_an_interrupted_wait_leaves_no_key(room: Room):
    """Interrupted between two looks nothing is held."""
    holder = room.take()

    def interrupt():
        room.free(holder)
        raise KeyboardInterrupt

    room.clock.later(1.0, interrupt)
    with pytest.raises(KeyboardInterrupt):
        room.guard.run(room.claim(), lambda _: None, refuse, wait=5.0)
    assert room.holder() is None


def test_interrupted_after_taking_the_key_it_is_freed(room: Room):
    """Also between the answer and the work nothing is left behind."""

    def interrupt(_event):
        raise KeyboardInterrupt

    signals.acquired.connect(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            room.guard.run(room.claim(), lambda _: None, refuse)
    finally:
        signals.acquired.disconnect(interrupt)
    assert room.holder() is None


def test_interrupted_after_taking_the_key_it_is_watched_no_more(room: Room):
    """A lease that was given up is not kept, and its being gone is not reported as a loss."""

    def interrupt(_event):
        raise KeyboardInterrupt

    signals.acquired.connect(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            room.guard.run(room.claim(), lambda _: None, refuse, beat=10.0)
    finally:
        signals.acquired.disconnect(interrupt)
    assert room.watched() == []


def test_an_interruption_is_seen_also_when_the_store_is_down(room: Room):
    """What cannot be given back does not hide why the work was ended."""
    room.store.fail("acquire", KeyboardInterrupt())
    room.store.fail("release")
    with pytest.raises(KeyboardInterrupt):
        room.guard.run(room.claim(), lambda _: None, refuse)


# Outages


def test_an_outage_is_an_answer_to_the_work_that_was_to_run(room: Room):
    """A store that cannot be reached goes to `otherwise` as an error, and the work does not run."""
    room.store.fail("acquire")
    ran = []
    assert isinstance(room.guard.run(room.claim(), ran.append, refuse), StoreUnavailable)
    assert ran == []


def test_entering_raises_an_outage(room: Room):
    """`enter` has no other way to answer."""
    room.store.fail("acquire")
    with pytest.raises(StoreUnavailable):
        room.guard.enter(room.claim())


def test_an_outage_while_acquiring_is_said(room: Room):
    """The signal names the claim and why."""
    room.store.fail("acquire")
    claim = Claim("wallet:42", "me", 30.0, "bank.withdraw", "7")
    with heard(signals.outage) as said:
        room.guard.run(claim, lambda _: None, refuse)
    assert said == [
        events.Outage(
            "wallet:42", "me", "acquire", "the server does not answer: start it", task="bank.withdraw", task_id="7"
        )
    ]


def test_an_outage_inside_the_work_is_the_works_own(room: Room):
    """A job that uses a store itself and meets an outage fails with it: its lock was fine."""
    inner = StoreUnavailable("another store")

    def job(_lease):
        raise inner

    with heard(signals.outage) as said, pytest.raises(StoreUnavailable) as caught:
        room.guard.run(room.claim(), job, refuse)
    assert caught.value is inner
    assert said == []
    assert room.holder() is None


def test_a_failing_release_does_not_hide_the_result(room: Room, caplog):
    """The work is done: its result counts, the ttl ends the lease, and a log line says so."""
    room.store.fail("release")
    with caplog.at_level(logging.WARNING, "celery_locks.guard"):
        assert room.guard.run(room.claim(), lambda _: "done", refuse) == "done"
    assert "'wallet:42' stays taken until its lease ends: the server does not answer" in caplog.text


def test_a_failing_release_does_not_hide_the_error(room: Room):
    """What the work raised is what is seen."""
    room.store.fail("release")
    with pytest.raises(ZeroDivisionError):
        room.guard.run(room.claim(), lambda _: 1 / 0, refuse)


def test_a_failing_release_is_said(room: Room):
    """As an outage during release."""
    room.store.fail("release")
    with heard(signals.outage) as said:
        room.guard.run(room.claim(), lambda _: None, refuse)
    assert [event.during for event in said] == ["release"]


def test_a_failing_release_after_the_lease_was_over_is_a_loss(room: Room):
    """Where the lease ran out and nobody can say more, the work may not have been alone."""
    room.store.fail("release")
    with pytest.raises(LockLost):
        room.guard.run(room.claim(ttl=10.0), lambda _: room.clock.advance(11.0), refuse)


# Late answers


def test_an_answer_later_than_the_lease_is_no_lease(room: Room):
    """A store that took longer than the ttl gave a lease that is over: the work does not run under it."""
    room.store.delay("acquire", 10.0)
    ran = []
    refusal = room.guard.run(room.claim(ttl=10.0), ran.append, refuse)
    assert ran == []
    assert isinstance(refusal, StoreUnavailable)
    assert str(refusal) == (
        "'wallet:42' could not be locked: the store took longer to answer than the lease lasts (10 s): use a longer ttl"
    )


def test_an_answer_later_than_the_lease_is_given_back(room: Room):
    """What may still be there is released."""
    room.store.delay("acquire", 10.0)
    claim = room.claim(ttl=10.0)
    room.guard.run(claim, lambda _: None, refuse)
    assert room.store.called("release") == [claim]


def test_a_late_answer_costs_the_lease_its_time(room: Room):
    """A lease is counted from before the request left."""
    room.store.delay("acquire", 4.0)
    assert room.guard.run(room.claim(ttl=10.0), lambda lease: lease.remaining, refuse) == pytest.approx(6.0)


# Losses


def test_work_that_outlived_its_lease_raises(room: Room):
    """The work is done, but perhaps not alone: `LockLost`."""
    with pytest.raises(LockLost) as caught:
        room.guard.run(room.claim(ttl=10.0), lambda _: room.clock.advance(11.0), refuse)
    assert caught.value.key == "wallet:42"


def test_work_whose_key_was_taken_away_raises(room: Room):
    """The thief keeps the key."""
    with pytest.raises(LockLost):
        room.guard.run(room.claim(), lambda _: room.steal(), refuse)
    assert room.holder() == "thief"


def test_work_that_raised_keeps_its_own_error(room: Room):
    """A lost lease does not hide why the work failed."""

    def job(_lease):
        room.steal()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        room.guard.run(room.claim(), job, refuse)


def test_a_loss_that_only_flags_keeps_the_result(room: Room):
    """With `strict=False` the work looked itself, and its result counts."""
    lease = room.guard.run(room.claim(), lambda lease: room.steal() and lease, refuse, strict=False)
    assert lease.state is State.LOST


def test_a_lease_found_gone_at_its_release_is_expired(room: Room):
    """Its owner hears of it once, as expired and as lost."""
    with heard(signals.expired, signals.lost, signals.released) as said, pytest.raises(LockLost):
        room.guard.run(room.claim(owner="me", ttl=10.0), lambda _: room.clock.advance(11.0), refuse)
    assert [type(event) for event in said] == [events.Lost, events.Expired]
    assert said[1].held == pytest.approx(11.0)


def test_a_lease_just_in_time_at_the_store_is_released(room: Room):
    """The store's word counts: what it gave back was ours, although by our own clock it was over."""

    def job(lease):
        lease.deadline = room.clock.now
        return "done"

    assert room.guard.run(room.claim(), job, refuse) == "done"


# Keeping


def test_a_lease_with_a_beat_is_kept(room: Room):
    """While the work runs its lease is watched, and afterwards it is not."""
    during = room.guard.run(room.claim(), lambda _: len(room.watched()), refuse, beat=10.0)
    assert (during, room.watched()) == (1, [])


def test_a_lease_without_a_beat_is_not_kept(room: Room):
    """`heartbeat=False` costs nothing."""
    assert room.guard.run(room.claim(), lambda _: room.watched(), refuse) == []


def test_a_lock_in_a_connection_is_always_kept(room: Room, monkeypatch):
    """Where the connection is the lock, somebody must notice that it broke."""
    monkeypatch.setattr(type(room.store), "in_connection", True)
    assert len(room.guard.run(room.claim(), lambda _: room.watched(), refuse)) == 1


def test_renewing_extends_the_lease(room: Room):
    """`lease.renew()` gives a full ttl again, here and in the store."""
    lease = room.guard.enter(room.claim(ttl=10.0))
    room.clock.advance(8.0)
    lease.renew()
    assert lease.remaining == pytest.approx(10.0)
    assert room.store.memory.inspect("wallet:42").remaining == pytest.approx(10.0)


def test_renewing_with_a_ttl_extends_by_it(room: Room):
    """`lease.renew(60)` lasts 60 seconds from now."""
    lease = room.guard.enter(room.claim(ttl=10.0))
    lease.renew(60.0)
    assert lease.remaining == pytest.approx(60.0)
    assert room.store.memory.inspect("wallet:42").remaining == pytest.approx(60.0)


def test_a_renewal_is_counted_from_before_its_request(room: Room):
    """A slow answer does not make the lease longer than the store's."""
    lease = room.guard.enter(room.claim(ttl=10.0))
    room.store.delay("renew", 3.0)
    lease.renew()
    assert lease.remaining == pytest.approx(7.0)


def test_a_kept_lease_renewed_for_less_is_still_kept(room: Room):
    """After `renew(3)` the next beat comes within three seconds."""
    lease = room.guard.enter(room.claim(ttl=30.0), beat=10.0)
    lease.renew(3.0)
    [watched] = room.keeper._watched.values()
    assert watched.due < lease.deadline


def test_renewing_a_stolen_lease_raises(room: Room):
    """It is not ours any more: `LockLost`, reported once, and nobody keeps it."""
    lease = room.guard.enter(room.claim(), beat=10.0)
    room.steal()
    with heard(signals.lost) as said, pytest.raises(LockLost):
        lease.renew()
    assert len(said) == 1
    assert room.watched() == []


def test_renewing_an_expired_lease_raises(room: Room):
    """What is over is over, also when nobody took the key since."""
    lease = room.guard.enter(room.claim(ttl=10.0))
    room.clock.advance(10.0)
    with pytest.raises(LockLost):
        lease.renew()
    assert room.store.called("renew") == []


def test_a_renewal_without_answer_loses_nothing(room: Room):
    """An outage is raised, and the lease is what it was."""
    lease = room.guard.enter(room.claim())
    room.store.fail("renew")
    with pytest.raises(StoreUnavailable):
        lease.renew()
    assert lease.held()


# Giving back


def test_giving_back_twice_is_once(room: Room):
    """The second time nothing is asked of the store."""
    lease = room.guard.enter(room.claim())
    assert room.guard.leave(lease) is True
    assert room.guard.leave(lease) is True
    assert len(room.store.called("release")) == 1


def test_a_lease_is_kept_by_its_owner_while_the_store_is_down(room: Room):
    """A release without answer can be tried again."""
    lease = room.guard.enter(room.claim())
    room.store.fail("release")
    with pytest.raises(StoreUnavailable):
        room.guard.leave(lease)
    assert room.guard.leave(lease) is True
    assert room.holder() is None


def test_giving_back_what_is_not_ours_is_refused(room: Room):
    """A former owner gets False, and the new one keeps the key."""
    lease = room.guard.enter(room.claim())
    room.steal()
    assert room.guard.leave(lease) is False
    assert room.holder() == "thief"


# What is said


def test_taking_and_giving_back_is_said(room: Room):
    """With fence, job, time waited and time held."""
    holder = room.take(ttl=1000.0)
    room.clock.later(2.0, lambda: room.free(holder))
    claim = Claim("wallet:42", "me", 30.0, "bank.withdraw", "7")
    with heard(signals.acquired, signals.released) as said:
        fence = room.guard.run(claim, lambda lease: room.clock.advance(5.0) or lease.fence, refuse, wait=10.0)
    acquired, released = said
    assert acquired == events.Acquired("wallet:42", "me", fence, acquired.waited, task="bank.withdraw", task_id="7")
    assert acquired.waited == pytest.approx(2.0, abs=0.26)
    assert released == events.Released("wallet:42", "me", fence, released.held, task="bank.withdraw", task_id="7")
    assert released.held == pytest.approx(5.0)


def test_a_contention_is_said_once(room: Room):
    """After the wait, with the holder and how long it was waited."""
    room.take(owner="somebody", ttl=1000.0)
    with heard(signals.contended) as said:
        room.guard.enter(Claim("wallet:42", "me", 30.0), wait=5.0)
    [event] = said
    assert (event.key, event.owner, event.holder, event.place) == ("wallet:42", "me", "somebody", None)
    assert event.waited == pytest.approx(5.0)
    assert event.remaining == pytest.approx(995.0)


def test_a_failing_receiver_harms_no_work(room: Room):
    """Whatever a receiver raises, the work runs and the key is given back."""

    def fail(_event):
        raise ZeroDivisionError

    for signal in (signals.acquired, signals.released):
        signal.connect(fail)
    try:
        assert room.guard.run(room.claim(), lambda _: "done", refuse) == "done"
    finally:
        for signal in (signals.acquired, signals.released):
            signal.disconnect(fail)
    assert room.holder() is None
