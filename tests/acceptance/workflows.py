"""Members of workflows that hold a key: most of them tasks that know nothing of locks."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Task, shared_task

from celery_locks import LockedTask, current_lease, install
from celery_locks.guard import Guard
from tests.acceptance.bodies import BrokenJobError
from tests.acceptance.journal import Journal
from tests.acceptance.tasks import app
from tests.waiting import wait_until

__all__ = ["app"]

install(app)


def body(key: str, job: str, door: str | None, *, is_stopped: bool = False) -> str:
    """Run until the door is open."""
    with Journal.of_this_process().running(key, job, current_lease().fence, holder=current_lease().owner):
        current_lease().ensure_held()
        if is_stopped:
            stand_still(key, job)
        elif door:
            wait_until(Path(door).exists, f"the door of {job}", timeout=60)
        else:
            time.sleep(0.02)
        current_lease().ensure_held()
    return job


def stand_still(key: str, job: str) -> None:
    """Say so, and do nothing more: somebody kills the worker now."""
    Journal.of_this_process().write("still", key=key, job=job)
    wait_until(lambda: False, f"somebody to kill {job}", timeout=60)


def stopped(key: str, job: str, at: str, gate: str | None = None) -> str:
    """The first in its workflow stands still inside its body, or when the gate is open at a place behind it."""
    if Journal.of_this_process().events("still", key):
        return body(key, job, None)
    if at != "inside":
        stop_at(at, key, job)
    return body(key, job, gate, is_stopped=at == "inside")


def stop_at(place: str, key: str, job: str) -> None:
    """Have this process stand still before, or behind, what it does when the body is done."""
    backend = type(app.backend)
    where, name, is_behind = {
        "release": (Guard, "leave", False),
        "count": (backend, "on_chord_part_return", False),
        "counted": (backend, "on_chord_part_return", True),
        "errbacks": (backend, "_call_task_errbacks", False),
        "errbacks sent": (backend, "_call_task_errbacks", True),
    }[place]
    real = getattr(where, name)

    def stands(*args: Any, **kwargs: Any) -> None:
        if is_behind:
            real(*args, **kwargs)
        stand_still(key, job)

    setattr(where, name, stands)


class Called(Task):
    """A task with a call of its own, as those of frameworks have."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        Journal.of_this_process().write("called", key=kwargs["key"], job=kwargs["job"])
        return super().__call__(*args, **kwargs)


@shared_task(name="step")
def step(key: str, job: str, door: str | None = None) -> str:
    return body(key, job, door)


@shared_task(name="step_late", acks_late=True, reject_on_worker_lost=True)
def step_late(key: str, job: str, door: str | None = None) -> str:
    return body(key, job, door)


@shared_task(name="step_called", base=Called)
def step_called(key: str, job: str, door: str | None = None) -> str:
    return body(key, job, door)


@shared_task(name="step_locked", base=LockedTask, lock_key="{key}")
def step_locked(key: str, job: str, door: str | None = None) -> str:
    return body(key, job, door)


@shared_task(name="step_locked_twice", base=LockedTask, lock_key="{key}:own", bind=True)
def step_locked_twice(self: Any, key: str, job: str) -> str:
    assert self.lease.key == f"{key}:own"
    with Journal.of_this_process().running(self.lease.key, job, self.lease.fence):
        return job


@shared_task(name="step_retried", bind=True, max_retries=1)
def step_retried(self: Any, key: str, job: str, door: str | None = None, countdown: float = 0) -> str:
    body(key, job, door)
    if not self.request.retries:
        raise self.retry(countdown=countdown)
    return job


@shared_task(name="step_replaced", bind=True)
def step_replaced(self: Any, key: str, job: str, door: str | None = None) -> str:
    body(key, job, door)
    queue = self.request.delivery_info["routing_key"]
    first, second = (step.si(key=key, job=f"{job} {each}").set(queue=queue) for each in ("replaced", "again"))
    raise self.replace(first | second)


@shared_task(name="step_fails")
def step_fails(key: str, job: str, door: str | None = None) -> str:
    body(key, job, door)
    raise BrokenJobError(job)


@shared_task(name="step_fails_late", acks_late=True, reject_on_worker_lost=True)
def step_fails_late(key: str, job: str) -> str:
    return step_fails(key, job)


@shared_task(name="undo")
def undo(_uuid: str, *, key: str, job: str) -> str:
    return body(key, job, None)


@shared_task(name="undo_called")
def undo_called(_request: Any, _error: Any, _trace: Any, key: str, job: str) -> str:
    return body(key, job, None)


def step_stopped(_task: Any, key: str, job: str, at: str, gate: str, *, fails: bool = False) -> str:
    stopped(key, job, at, gate)
    if fails:
        raise BrokenJobError(job)
    return job


# What was acknowledged does not come again when its worker is killed.
for _name, _late in {"step_stopped": False, "step_stopped_late": True}.items():
    shared_task(step_stopped, bind=True, name=_name, acks_late=_late, reject_on_worker_lost=_late)


@shared_task(name="undo_stopped", acks_late=True, reject_on_worker_lost=True)
def undo_stopped(_uuid: str, *, key: str, job: str, at: str, gate: str) -> str:
    return stopped(key, job, at, gate)


@shared_task(name="undo_called_stopped")
def undo_called_stopped(_request: Any, _error: Any, _trace: Any, key: str, job: str) -> str:
    return stopped(key, job, "inside")


@shared_task(name="step_dies")
def step_dies(key: str, job: str) -> str:
    """Its worker dies when it is done, and before it can give the key back."""
    Guard.leave = lambda *_: os.killpg(0, signal.SIGKILL)  # type: ignore[method-assign,assignment]
    return body(key, job, None)
