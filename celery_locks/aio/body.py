"""The body of an `async with`: it knows its lease, and may be stopped when that is lost."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from typing import TYPE_CHECKING, Any

from celery_locks.aio.hands import mine
from celery_locks.current import carrying

if TYPE_CHECKING:
    from celery_locks.lease import Lease


class Body:
    """What one task does under a lock."""

    lease: Lease

    def __init__(self, task: asyncio.Task[Any]) -> None:
        # Whoever has forgotten a task has it collected, and its body ended.
        self._task = weakref.ref(task)
        self._loop = task.get_loop()
        self._before = _cancelling(task)
        self._is_over = False
        self.hands = mine()
        #: It was stopped for its lease, and nobody else has cancelled it.
        self.is_stopped = False

    def begins(self, lease: Lease) -> None:
        """It has its lease, which is the current one in it."""
        self.lease = lease
        self._carrying = carrying(lease)
        self._carrying.__enter__()

    def is_of(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether it is this task's."""
        return task is not None and self._task() is task

    def is_forgotten(self) -> bool:
        """Whether its task is, or will never go on, or is ended this moment from outside its loop."""
        task = self._task()
        if task is None or task.done() or self._loop.is_closed():
            return True
        ends = getattr(task.get_coro(), "cr_running", False)
        return ends and task is not asyncio.current_task(self._loop)

    def lost(self, lease: Lease) -> None:  # noqa: ARG002 - a keeper names it
        """Stop it at its next await, from whatever thread, if its loop is not closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop)

    def ends(self) -> None:
        """It is over. One that was stopped is not cancelled any more, unless somebody else has cancelled it too."""
        self._is_over = True
        task = self._task()
        if self.is_of(asyncio.current_task()):
            # Another task, which ends a generator's body, has a current lease of its own, or none.
            self._carrying.__exit__()
        if self.is_stopped and task and sys.version_info >= (3, 11):
            task.uncancel()
            self.is_stopped = _cancelling(task) <= self._before

    def was_stopped(self, error: BaseException | None) -> bool:
        """Whether a cancellation that comes after its end is still ours, since it had no await for it to come to."""
        task = self._task()
        others = task is not None and _cancelling(task) > self._before
        return self.is_stopped and not others and not isinstance(error, asyncio.CancelledError)

    def _stop(self) -> None:
        task = self._task()
        if not self._is_over and task:
            self.is_stopped = True
            task.cancel()


def _cancelling(task: asyncio.Task[Any]) -> int:
    """How often it was asked to end. Before Python 3.11 nobody counts that."""
    return int(getattr(task, "cancelling", int)())
