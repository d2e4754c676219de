"""How long a job is kept at the door at most, and what is shown of it meanwhile."""

from __future__ import annotations

from celery.app.task import Context

from celery_locks import LockTimeout, Requeue, events, requeue, signals
from celery_locks.lease import Busy
from celery_locks.worker import door
from tests.unit.fakes import heard
from tests.unit.hall import DATE, KEY, come, job, no_store, shut

# How long


def seconds_kept(task, **options) -> tuple[float, bool]:
    """How long it waits at most, as its message says, and whether the worker may lengthen that."""
    kept, request = shut(task, **options)
    assert kept
    return (request.eta - task.app.now()).total_seconds(), requeue.is_patient(request.request_dict)


def test_a_numeric_countdown_is_kept(hall):
    """It is a ceiling, here as after a re-queue."""
    seconds, patient = seconds_kept(job(hall, lock_countdown=7))
    assert 5 < seconds <= 7
    assert not patient


def test_the_delay_of_a_requeue_is_kept(hall):
    """A policy that is no callable is known before there is a slot."""
    assert 1 < seconds_kept(job(hall, lock_on_contention=Requeue(3)))[0] <= 3
    assert seconds_kept(job(hall, lock_on_contention=Requeue()))[0] > 20


def test_the_longest_wait_ends_a_countdown(hall):
    """Nobody waits past it, and nobody lengthens it."""
    seconds, patient = seconds_kept(job(hall, lock_max_wait=4))
    assert 2 < seconds <= 4
    assert not patient


def test_the_longest_wait_counts_from_the_first_contention(hall):
    """A job that was re-queued before, and came without its countdown, brings along since when it waits."""
    task = job(hall, lock_max_wait=60)
    before = 1_700_000_000.0
    seconds, _ = seconds_kept(task, store={requeue.SINCE: before})
    assert seconds <= 0
    request = come(task, store={requeue.SINCE: before, requeue.REQUEUES: 3})
    assert door.Door(task.app).shut(request)
    assert request.request_dict[requeue.SINCE] == before
    assert requeue.requeues(Context(request.request_dict)) == 3


# What is shown


BUSY = Busy("somebody", 12.0, 3, f"{DATE}ann", present=True)


def test_a_job_at_the_door_shows_as_retry_with_key_holder_and_place(hall):
    """As one does that was re-queued."""
    task = job(hall)
    kept, request = shut(task)
    kept[1](BUSY)
    result = task.AsyncResult(request.id)
    assert result.state == "RETRY"
    assert isinstance(result.result, LockTimeout)
    assert (result.result.key, result.result.holder) == (KEY, "somebody")
    assert str(result.result) == "'wallet:42' is held by somebody, place 3 in line"


def test_a_job_at_the_door_is_told_to_who_listens(hall):
    """The signal names the job, which had no slot yet."""
    task = job(hall)
    with heard(signals.contended) as said:
        kept, request = shut(task)
        assert said == []
        kept[1](BUSY)
    (event,) = said
    assert isinstance(event, events.Contended)
    assert (event.key, event.holder, event.task, event.task_id) == (KEY, "somebody", task.name, request.id)


def test_nothing_is_stored_of_a_job_whose_result_is_not(hall):
    """As it was sent."""
    task = job(hall)
    kept, request = shut(task, ignore_result=True)
    kept[1](BUSY)
    assert task.AsyncResult(request.id).state == "PENDING"


def test_a_result_backend_that_fails_harms_no_job(hall, monkeypatch, caplog):
    """What cannot be shown is said in the log."""
    task = job(hall)
    kept, _ = shut(task)
    monkeypatch.setattr(type(task.backend), "mark_as_retry", no_store)
    kept[1](BUSY)
    assert "could not be stored" in caplog.text
