"""What a worker of greenlets does when it is to end at once. A thread stands for each greenlet."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from billiard.einfo import ExceptionInfo
from celery.concurrency import thread
from celery.exceptions import Retry
from celery.worker.request import Request

from celery_locks.worker import LockedRequest, green
from tests.unit.hall import come, job
from tests.waiting import wait_until


class Worker:
    """One of whose consumer and pool it is written down what they are asked for."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.spawned: list[threading.Thread] = []
        self.pool = SimpleNamespace(spawn_n=lambda fun: self.spawned.append(threading.Thread(target=fun, daemon=True)))
        self.consumer = SimpleNamespace(task_consumer=None, cancel_active_requests=lambda: self.done.append("cancel"))
        self.is_soft = threading.Event()

    def signalled(self) -> None:
        """A signal comes, and greenlets begin when its handler is done."""
        on_cold_shutdown(self)
        self.go_on()

    def go_on(self) -> None:
        while self.spawned:
            self.spawned.pop().start()

    def wait_for_soft_shutdown(self) -> None:
        self.done.append("soft")
        self.is_soft.wait(10)

    def terminate(self) -> None:
        self.done.append("terminate")


def on_cold_shutdown(worker: Worker) -> None:
    """Celery's, as far as it matters here."""
    worker.wait_for_soft_shutdown()
    worker.consumer.cancel_active_requests()


@pytest.fixture
def worker(monkeypatch) -> Worker:
    monkeypatch.setattr(green.program, "on_cold_shutdown", on_cold_shutdown, raising=False)
    monkeypatch.setattr(green, "HEARD", 0.0)
    worker = Worker()
    green.Cold(worker, worker.wait_for_soft_shutdown)
    return worker


def test_a_signals_handler_waits_for_nothing(worker: Worker):
    """Another does what it would do: not twice, however often it is asked."""
    on_cold_shutdown(worker)
    worker.signalled()
    wait_until(lambda: worker.done == ["soft"], "the soft shutdown to begin")
    worker.is_soft.set()
    worker.terminate()
    assert worker.done[:2] == ["soft", "cancel"]
    assert (worker.done.count("soft"), worker.done[-1]) == (1, "terminate")


def test_a_second_signal_breaks_off_at_once(worker: Worker):
    """While the soft shutdown goes on."""
    worker.signalled()
    wait_until(lambda: worker.done == ["soft"], "the soft shutdown to begin")
    worker.consumer.cancel_active_requests()
    assert worker.done == ["soft"]
    worker.go_on()
    wait_until(lambda: worker.done == ["soft", "cancel"], "what runs to be broken off")
    worker.is_soft.set()


def test_a_worker_ends_when_all_is_done(worker: Worker):
    """Its main greenlet may hear of its end before."""
    worker.signalled()
    ends = threading.Thread(target=worker.terminate, daemon=True)
    ends.start()
    wait_until(lambda: worker.done == ["soft"], "the soft shutdown to begin")
    worker.is_soft.set()
    ends.join(10)
    assert worker.done[-1] == "terminate"


def test_an_error_does_not_keep_it_from_ending(worker: Worker, monkeypatch):
    """Whatever Celery's shutdown meets, the worker ends."""
    worker.signalled()
    wait_until(lambda: worker.done == ["soft"], "the soft shutdown to begin")
    monkeypatch.setattr(worker.consumer, "cancel_active_requests", None)
    worker.is_soft.set()
    worker.terminate()
    assert worker.done[-1] == "terminate"


def test_a_worker_that_ends_otherwise_waits_for_nobody(worker: Worker):
    """No signal came."""
    worker.terminate()
    assert worker.done == ["terminate"]


@pytest.mark.parametrize(("is_green", "is_late"), [(True, True), (True, False), (False, True)])
def test_a_greenlet_that_was_broken_off_is_not_acknowledged(monkeypatch, *, is_green: bool, is_late: bool):
    """If it acknowledges late. Elsewhere Celery knows it from one that has done well."""
    said: list[str] = []
    monkeypatch.setattr(Request, "cancel", lambda *_, **__: said.append("cancel"))
    monkeypatch.setattr(Request, "acknowledge", lambda _: said.append("acknowledge"))
    monkeypatch.setattr(LockedRequest, "task", SimpleNamespace(acks_late=is_late), raising=False)
    request, pool = object.__new__(LockedRequest), object.__new__(thread.TaskPool)
    pool.is_green = is_green
    request.cancel(pool)
    request.acknowledge()
    assert said == ["cancel"] + ["acknowledge"] * (not (is_green and is_late))


def test_one_that_has_sent_itself_again_is_acknowledged(hall, monkeypatch):
    """It was just about to end when all were broken off. Else there would be two messages of it."""
    said: list[str] = []
    monkeypatch.setattr(Request, "cancel", lambda *_, **__: said.append("cancel"))
    monkeypatch.setattr(Request, "acknowledge", lambda _: said.append("acknowledge"))
    request, pool = come(job(hall, acks_late=True)._get_current_object()), object.__new__(thread.TaskPool)
    pool.is_green = True
    request.cancel(pool)
    with pytest.raises(Retry) as raised:
        raise Retry("waits", exc=ValueError("taken"), when=1)
    request.on_retry(ExceptionInfo(raised._excinfo))
    assert said == ["cancel", "acknowledge"]
