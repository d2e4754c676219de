"""The result of a job whose process was ended for its lease."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
from billiard.exceptions import WorkerLostError
from celery import Celery

from celery_locks import LockLost, events
from celery_locks.signals import lost
from celery_locks.worker import killed
from celery_locks.worker.killed import explained, remember


@pytest.fixture(autouse=True)
def _nobody_listens():
    yield
    lost.disconnect(killed._note)
    killed._lost.clear()


def failed(error: Exception) -> SimpleNamespace:
    return SimpleNamespace(exception=error)


def cause(info) -> BaseException:
    return getattr(info.exception, "exc", info.exception)


def lose(task_id: str | None) -> None:
    lost.send(events.Lost("wallet:42", "me", 7, "it was taken away", task="withdraw", task_id=task_id))


def test_it_says_that_the_lease_was_lost():
    """With the key and the reason; for the worker it is still a lost process."""
    remember()
    lose("7")
    error = cause(explained(failed(WorkerLostError("exited prematurely")), "7"))
    assert isinstance(error, LockLost)
    assert isinstance(error, WorkerLostError)
    assert error.key == "wallet:42"
    assert "it was taken away. The process of the job was ended" in str(error)


def test_whoever_reads_the_result_gets_a_plain_error():
    """As pickle and as JSON, which know an error by the name of its class."""
    remember()
    lose("7")
    error = cause(explained(failed(WorkerLostError("exited prematurely")), "7"))
    assert type(pickle.loads(pickle.dumps(error))) is LockLost  # noqa: S301 - written right here
    backend = Celery(set_as_current=False, backend="cache+memory://").backend
    read = backend.exception_to_python(backend.prepare_exception(error, serializer="json"))
    assert type(read) is LockLost
    assert (read.key, read.message) == (error.key, error.message)


def test_other_failures_are_left_alone():
    """Another job's, or one whose process still was."""
    remember()
    lose("7")
    lose(None)
    for error, task_id in [(WorkerLostError("killed"), "8"), (ZeroDivisionError(), "7")]:
        info = failed(error)
        assert explained(info, task_id) is info


def test_it_is_said_once():
    """A second death of the job's process has another cause."""
    remember()
    lose("7")
    explained(failed(WorkerLostError("killed")), "7")
    info = failed(WorkerLostError("killed"))
    assert explained(info, "7") is info


def test_not_all_losses_are_kept(monkeypatch):
    """The latest of them are."""
    monkeypatch.setattr(killed, "REMEMBERED", 2)
    remember()
    for task_id in "789":
        lose(task_id)
    info = failed(WorkerLostError("killed"))
    assert explained(info, "7") is info
    assert explained(info, "8") is not info
