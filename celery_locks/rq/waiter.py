"""One job that waits, as the worker sees it that attends to it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from celery_locks.stores.base import Waiting
from celery_locks.ticket import parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.guard import Guard
    from celery_locks.rq.waits import Room, Wait


class Waiter:
    """Such a job. Without the guard of its store, which only those have who know its settings, its time must come."""

    def __init__(
        self, room: Room, job_id: str, wait: Wait, guard: Guard | None, woken: Callable[[Waiter, str], None]
    ) -> None:
        self.room = room
        self.job_id = job_id
        self.wait = wait
        self.guard = guard if guard and guard.waker and wait.key and wait.ticket else None
        #: When its countdown is over, by the clock of the day.
        self.due = wait.due
        self._since = time.monotonic()
        self._woken = woken

    @property
    def line(self) -> tuple[Guard, str] | None:
        """The guard and the key of the line that it is in."""
        return (self.guard, self.wait.key) if self.guard and self.wait.key else None

    def line_up(self) -> None:
        """Wait for its turn."""
        if (waker := self.guard and self.guard.waker) and (waiting := self.waiting):
            waker.wait(waiting, lambda ticket: self._woken(self, ticket))

    @property
    def waiting(self) -> Waiting | None:
        """Its place in line."""
        wait = self.wait
        return Waiting(wait.key, wait.ticket, comes=wait.comes) if wait.key and wait.ticket else None

    def shares_place(self, wait: Wait) -> bool:
        """Whether that is of the same place in the same line."""
        mine = self.wait
        if not (mine.ticket and wait.ticket and mine.key == wait.key):
            return False
        return parts(mine.ticket)[0] == parts(wait.ticket)[0]

    def dated(self, ticket: str) -> None:
        """It has this ticket now; that of one that was away is of when it left."""
        if parts(ticket)[1] or not self.wait.ticket:
            self.wait = replace(self.wait, ticket=ticket)

    def may_wait(self, longest: float) -> bool:
        """Whether it may wait on although its countdown is over: it is in line, and its turn will be heard of."""
        waker, waiting = self.guard and self.guard.waker, self.waiting
        if not (self.wait.patient and waker and waiting and waker.hears()):
            return False
        return time.monotonic() - self._since < longest and waker.again(waiting)

    def forget(self, *, leaves: bool) -> None:
        """It waits here no more; `leaves`: nor anywhere."""
        if not (self.guard and self.guard.waker and self.wait.key and self.wait.ticket):
            return
        if leaves:
            self.guard.leave_line(self.wait.key, self.wait.ticket)
        else:
            self.guard.waker.forget(self.wait.ticket)
