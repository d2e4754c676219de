"""A locked task as a worker runs it: back to the queue and out of it."""

# ruff: noqa: ARG001 - the body of a task takes what it is locked on

from __future__ import annotations

import pytest
from celery.exceptions import Reject, Retry

from celery_locks import LockTimeout, Requeue, StoreUnavailable, signals
from celery_locks.refused import Skipped
from tests.unit.bank import job
from tests.unit.fakes import heard


@pytest.fixture
def queued(room, monkeypatch):
    """Run a job as a worker does, its request on top, and see what is published instead of run."""

    def run(task, *args, publish=None, **request):
        published = []
        made = task._get_current_object()

        def apply_async(args=None, kwargs=None, **options):
            published.append({"args": args, "kwargs": kwargs, "top": made.request.called_directly, **options})
            if publish:
                raise publish

        monkeypatch.setattr(made, "apply_async", apply_async)
        made.push_request(
            **{"id": "7", "args": list(args), "kwargs": {}, "called_directly": False, "headers": {}, **request}
        )
        try:
            return made(*args)
        except BaseException as error:  # noqa: BLE001 - how it ended is what is looked at
            return error, published
        finally:
            made.pop_request()

    return run


def test_a_queued_job_goes_back(room, queued):
    """Contended, it is published again with its id, and this try ends in `Retry` with key and holder."""
    room.take(owner="somebody")
    ended, [sent] = queued(job(room), 42)
    assert isinstance(ended, Retry)
    assert isinstance(ended.exc, LockTimeout)
    assert (ended.exc.key, ended.exc.holder) == ("wallet:42", "somebody")
    assert (sent["task_id"], list(sent["args"])) == ("7", [42])


def test_going_back_spends_no_retry(room, queued):
    """`retries` is what it was, however often the job went back."""
    room.take()
    _, [sent] = queued(job(room, max_retries=0), 42, retries=2)
    assert sent["retries"] == 2


def test_going_back_takes_the_countdown(room, queued):
    """A number is taken; a policy's own delay is stronger; "auto" is between 1 and 30 s."""
    room.take()
    assert queued(job(room, lock_countdown=45), 42)[1][0]["countdown"] == 45.0
    assert queued(job(room, lock_countdown=45, lock_on_contention=Requeue(3)), 42)[1][0]["countdown"] == 3
    assert 1.0 <= queued(job(room), 42)[1][0]["countdown"] <= 30.0


def test_going_back_is_counted_in_the_headers(room, queued):
    """The user's own headers stay; how often and since when is added."""
    room.take()
    _, [first] = queued(job(room), 42, headers={"tenant": 3})
    assert (first["headers"]["tenant"], first["headers"]["lock_requeues"]) == (3, 1)
    _, [second] = queued(job(room), 42, headers=first["headers"])
    assert second["headers"]["lock_requeues"] == 2
    assert second["headers"]["lock_since"] == first["headers"]["lock_since"]


def test_a_job_that_went_back_too_often_gives_up(room, queued):
    """`lock_max_requeues` counts the headers, and the error says so."""
    room.take()
    ended, sent = queued(job(room, lock_max_requeues=3), 42, headers={"lock_requeues": 3})
    assert isinstance(ended, LockTimeout)
    assert str(ended).endswith("the job gives up: it went back to its queue 3 times (lock_max_requeues=3)")
    assert sent == []


def test_a_job_that_waited_too_long_gives_up(room, queued):
    """`lock_max_wait` counts from the first contention."""
    room.take()
    ended, sent = queued(job(room, lock_max_wait=60), 42, headers={"lock_requeues": 1, "lock_since": 0.0})
    assert isinstance(ended, LockTimeout)
    assert "(lock_max_wait=60)" in str(ended)
    assert sent == []


def test_what_goes_back_is_not_its_own_parent(room, queued):
    """It is published as by somebody outside a job."""
    room.take()
    _, [sent] = queued(job(room), 42)
    assert sent["top"] is True


def test_a_requeue_is_said_after_it_was_published(room, queued):
    """With the delay and the number of tries so far."""
    room.take(owner="somebody")
    with heard(signals.requeued) as said:
        queued(job(room, lock_countdown=5), 42, headers={"lock_requeues": 1})
        queued(job(room), 42, publish=OSError("broker is gone"))
    [event] = said
    assert (event.key, event.holder, event.delay, event.attempts) == ("wallet:42", "somebody", 5.0, 2)
    assert (event.task, event.task_id) == ("bank.withdraw", "7")


def test_a_broker_that_refuses_fails_the_job(room, queued):
    """An acknowledged job that could not be published again ends failed, with the reason: never silently."""
    room.take()
    ended, _ = queued(job(room), 42, publish=OSError("broker is gone"))
    assert isinstance(ended, LockTimeout)
    assert "could not be put back on its queue (OSError('broker is gone')) and does not run" in str(ended)


def test_a_broker_that_refuses_gets_a_late_acknowledged_job_back(room, queued):
    """It is rejected back to its queue."""
    room.take()
    ended, _ = queued(job(room, acks_late=True), 42, publish=OSError("broker is gone"))
    assert isinstance(ended, Reject)
    assert ended.requeue is True


def test_a_queued_job_without_its_store_goes_back(room, queued):
    """Not counted as a contention, and not run."""
    room.store.fail("acquire")
    ended, [sent] = queued(job(room), 42)
    assert isinstance(ended, Retry)
    assert isinstance(ended.exc, StoreUnavailable)
    assert "lock_requeues" not in sent["headers"]
    assert 5.0 <= sent["countdown"] <= 15.0


def test_a_queued_job_without_its_store_may_fail(room, queued):
    """`lock_on_outage="fail"`."""
    room.store.fail("acquire")
    ended, sent = queued(job(room, lock_on_outage="fail"), 42)
    assert isinstance(ended, StoreUnavailable)
    assert sent == []


def test_a_queued_job_that_is_skipped_is_revoked(room, queued):
    """Its result is stored as revoked, with the reason, before the job is ignored."""
    room.take()
    task = job(room, lock_on_contention="skip")
    ended, sent = queued(task, 42)
    assert isinstance(ended, Skipped)
    assert sent == []
    result = task.AsyncResult("7")
    assert result.state == "REVOKED"
    assert str(result.result) == "skipped: 'wallet:42' is held by somebody"


def test_a_queued_job_runs_under_its_id(room, queued):
    """Uncontended it just runs."""
    assert queued(job(room), 42).startswith("bank.withdraw[7]@")
