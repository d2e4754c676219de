"""A locked task run eagerly."""

# ruff: noqa: ARG001 - the body of a task takes what it is locked on

from __future__ import annotations

import pytest
from celery.exceptions import TaskRevokedError

from celery_locks import (
    Contention,
    Fail,
    LockConfigError,
    LockTimeout,
    Skip,
    events,
    signals,
)
from tests.unit.bank import job
from tests.unit.fakes import heard


def test_an_eager_job_takes_the_lock(room):
    """`apply()` holds the key while it runs, under its task id."""
    result = job(room).apply((42,), task_id="7")
    assert result.get().startswith("bank.withdraw[7]@")
    assert room.holder() is None


def test_an_eager_job_cannot_go_back(room):
    """Its policy is to requeue, and there is no queue: it ends in `LockTimeout`."""
    room.take()
    result = job(room).apply((42,))
    assert result.state == "FAILURE"
    with pytest.raises(LockTimeout, match="'wallet:42' is held by somebody; the job gives up"):
        result.get()


def test_an_eager_job_that_is_skipped_is_revoked(room):
    """`get()` raises, and does not hang or give None."""
    room.take()
    result = job(room, lock_on_contention="skip").apply((42,))
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="skipped: 'wallet:42' is held by somebody"):
        result.get()


def test_an_eager_job_says_why_it_was_skipped(room):
    """A policy's own reason is the revocation's."""
    room.take()
    result = job(room, lock_on_contention=Skip(reason="already running")).apply((42,))
    with pytest.raises(TaskRevokedError, match=r"^already running$"):
        result.get()


@pytest.mark.parametrize("value", ["Processing", None, 0])
def test_an_eager_job_that_is_skipped_with_a_result_ends_well(room, value):
    """None is a result too."""
    room.take()
    result = job(room, lock_on_contention=Skip(result=value)).apply((42,))
    assert (result.state, result.get()) == ("SUCCESS", value)


def test_an_eager_job_that_fails_says_why(room):
    """A policy's own reason is in the error."""
    room.take()
    result = job(room, lock_on_contention=Fail("too busy")).apply((42,))
    with pytest.raises(LockTimeout, match="the job gives up: too busy"):
        result.get()


def test_always_eager_apps_are_eager(room):
    """`delay()` under `task_always_eager` behaves as `apply()`."""
    room.take()
    task = job(room, lock_on_contention="skip", conf={"task_always_eager": True})
    assert task.delay(42).state == "REVOKED"
    room.store.memory.force_release("wallet:42")
    assert task.delay(42).state == "SUCCESS"


def test_an_eager_job_does_not_free_anothers_lock(room):
    """A job that was refused, and one that ended, leave the holder alone."""
    room.take(owner="queued")
    task = job(room)
    task.apply((42,))
    task.apply((43,))
    assert room.holder() == "queued"


def test_an_owner_is_one_execution(room):
    """Two executions of one task id are two owners: a redelivered copy waits like any other."""
    task = job(room)
    owners = {task.apply((42,), task_id="7").get() for _ in range(2)}
    assert len(owners) == 2


def test_two_executions_of_one_id_exclude_each_other(room):
    """The same id is not the same owner."""
    inner = []

    def withdraw(self, user_id):
        if not inner:
            inner.append(None)
            inner[0] = self.apply((user_id,), task_id=self.request.id).state

    job(room, withdraw, bind=True).apply((42,), task_id="7").get()
    assert inner == ["FAILURE"]


@pytest.mark.parametrize("how", ["retry", "autoretry"])
def test_a_retry_releases_and_takes_again(room, how):
    """It does not meet its own lock: the body runs as often as it should, each time under a lease of its own."""
    fences = []

    def withdraw(self, user_id):
        fences.append(self.lease.fence)
        if len(fences) < 3:
            raise self.retry() if how == "retry" else ValueError
        return "done"

    more = {"autoretry_for": (ValueError,), "retry_backoff": False} if how == "autoretry" else {}
    task = job(room, withdraw, bind=True, default_retry_delay=0, **more)
    assert task.apply((42,)).get() == "done"
    assert len(set(fences)) == 3
    assert room.holder() is None


def test_a_policy_is_asked_with_what_is_known(room):
    """A callable gets key, task, id, holder and remaining time."""
    room.take(owner="somebody", ttl=20.0)
    asked = []

    def policy(contention):
        asked.append(contention)
        return Skip(result="later")

    assert job(room, lock_on_contention=policy).apply((42,), task_id="7").get() == "later"
    assert asked == [Contention("wallet:42", "bank.withdraw", "7", "somebody", 20.0, None, requeues=0, waited=0.0)]


def test_a_policy_that_answers_nonsense_is_an_error(room):
    """The job fails with it, and does not run."""
    room.take()
    with pytest.raises(LockConfigError, match="lock_on_contention gave 'later'"):
        job(room, lock_on_contention=lambda _: "later").apply((42,)).get()


def test_a_skip_is_said(room):
    """With the holder and the reason."""
    room.take(owner="somebody")
    with heard(signals.skipped) as said:
        job(room, lock_on_contention="skip").apply((42,), task_id="7")
    [event] = said
    assert event == events.Skipped(
        "wallet:42",
        event.owner,
        "somebody",
        "skipped: 'wallet:42' is held by somebody",
        task="bank.withdraw",
        task_id="7",
    )
