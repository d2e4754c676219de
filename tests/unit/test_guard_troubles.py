"""The flow of locked work when the store cannot be reached, answers late or denies the lease."""

from __future__ import annotations

import logging

import pytest

from celery_locks import LockLost, StoreUnavailable, events, signals
from celery_locks.lease import Claim, State
from tests.unit.fakes import Room, heard, refuse

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
