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
from tests.acceptance.journal import Journal
from tests.acceptance.tasks import BrokenJobError, app
from tests.waiting import wait_until

__all__ = ["app"]

install(app)


def body(key: str, job: str, door: str | None) -> str:
    """Run until the door is open."""
    with Journal.of_this_process().running(key, job, current_lease().fence, holder=current_lease().owner):
        current_lease().ensure_held()
        if door:
            wait_until(Path(door).exists, f"the door of {job}", timeout=60)
        else:
            time.sleep(0.02)
        current_lease().ensure_held()
    return job


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
def step_retried(self: Any, key: str, job: str, door: str | None = None) -> str:
    body(key, job, door)
    if not self.request.retries:
        raise self.retry(countdown=0)
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


@shared_task(name="undo")
def undo(_uuid: str, *, key: str, job: str) -> str:
    return body(key, job, None)


@shared_task(name="undo_called")
def undo_called(_request: Any, _error: Any, _trace: Any, key: str, job: str) -> str:
    return body(key, job, None)


@shared_task(name="step_dies")
def step_dies(key: str, job: str) -> str:
    """Its worker dies when it is done, and before it can give the key back."""
    Guard.leave = lambda *_: os.killpg(0, signal.SIGKILL)  # type: ignore[method-assign,assignment]
    return body(key, job, None)
