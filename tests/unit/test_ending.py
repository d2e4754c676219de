"""What a worker does for those who wait in its slots when it is about to end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import signals
from celery.concurrency import solo, thread
from celery.worker import state
from celery.worker.request import Request

from celery_locks import closing, pooled
from celery_locks.closing import AT_ONCE, NOT, SOON, Closing
from celery_locks.worker import Ending, LockedRequest


@pytest.fixture(autouse=True)
def here():
    """A worker that this process belongs to."""
    yield closing.adopt(Closing())
    closing.mine = None


def worker(pool=thread.TaskPool, **facts):
    return SimpleNamespace(pool=object.__new__(pool), **facts)


def step(w) -> Ending:
    ending = object.__new__(Ending)
    ending.create(w)
    return ending


def test_a_worker_that_stops_calls_them(here):
    """Softly, or at once."""
    ending = step(w := worker())
    assert closing.mine is not here
    ending.stop(w)
    assert closing.mine.how == SOON
    ending.terminate(w)
    assert closing.mine.how == AT_ONCE


def test_they_are_called_before_a_soft_shutdown():
    """Which waits for what runs, and then breaks it off."""
    w = worker(wait_for_soft_shutdown=lambda: seen.append(closing.mine.how))
    seen: list[int] = []
    step(w)
    w.wait_for_soft_shutdown()
    assert seen == [SOON]


def test_a_worker_that_is_its_own_pool_is_asked(monkeypatch):
    """It can say nothing while it runs a job; what it was asked to do is written down."""
    step(worker(solo.TaskPool))
    assert closing.mine.how == NOT
    monkeypatch.setattr(state, "should_stop", 0)
    assert closing.mine.how == SOON


def test_what_has_gone_back_is_not_broken_off(here, monkeypatch):
    """Celery would say of it that it waits, when it may be done elsewhere by then."""
    broken_off = []
    monkeypatch.setattr(Request, "cancel", lambda self, *_, **__: broken_off.append(self.id))
    here.begin(SOON)
    here.goes("7", 1)
    for task_id in "78":
        request = object.__new__(LockedRequest)
        monkeypatch.setattr(LockedRequest, "id", task_id, raising=False)
        request.cancel(None, emit_retry=True)
    assert broken_off == ["8"]


def test_the_place_of_a_process(monkeypatch):
    """That in its pool; outside of one there is one place."""
    assert pooled.place() == 0
    monkeypatch.setattr(pooled, "current_process", lambda: SimpleNamespace(index=3))
    assert pooled.place() == 3


def test_nobody_waits_in_a_process_that_begins():
    """The one before it was killed while a job waited in it: no shutdown is to wait for that."""
    step(worker())
    assert closing.mine
    closing.mine.enter("me", 0)
    signals.worker_process_init.send(sender=None)
    assert not any(closing.mine._memory[: closing._PLACES])
