"""Keeps jobs out of line while one that was called for the same key gets no slot.

A job that is called and cannot start costs its key a claim window, and so does each behind it. So when one that was
called lies in its queue still, it leaves the line and all that wait here for the same key stand aside. They keep their
dated tickets, and so come back to their places when it has begun.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celery_locks.guard import Guard
    from celery_locks.rq.waiter import Waiter

#: A job that was called is to have a slot within so many seconds: as long as the shortest claim window.
SOON = 0.25
#: Others stand aside for so many seconds at most: the worker that took the called job may be dead, which RQ finds late.
LONGEST = 30.0


class Crowded:
    """The jobs that were called a moment ago, and those that stand aside for one of them."""

    def __init__(self, waiters: Callable[[], Iterable[Waiter]]) -> None:
        #: All who wait here.
        self._waiters = waiters
        #: Who was called for a key last, and when.
        self._called: dict[tuple[Guard, str], tuple[Waiter, float]] = {}
        self._aside: dict[tuple[Guard, str], dict[str, Waiter]] = {}
        #: When to look whether they have begun.
        self.look_at = math.inf

    def expect(self, waiter: Waiter) -> None:
        """It was called, and is to begin."""
        if waiter.line:
            now = time.monotonic()
            self._called[waiter.line] = waiter, now
            self.look_at = min(self.look_at, now + SOON)

    def keeps(self, waiter: Waiter) -> bool:
        """Whether it is to stand aside with the others that wait for its key."""
        others = self._aside.get(waiter.line) if waiter.line else None
        if others is None:
            return False
        others[waiter.job_id] = waiter
        return True

    def has(self, waiter: Waiter) -> bool:
        """Whether it stands aside: its turn may come when there is a slot."""
        return waiter.line is not None and waiter.job_id in self._aside.get(waiter.line, {})

    def forget(self, waiter: Waiter) -> None:
        """It waits no more."""
        if waiter.line:
            self._aside.get(waiter.line, {}).pop(waiter.job_id, None)

    def look(self) -> None:
        """See who has begun, and who has no slot."""
        now = time.monotonic()
        if now < self.look_at:
            return
        for line, (called, since) in list(self._called.items()):
            status, has_begun = called.room.progress(called.job_id)
            if now - since > LONGEST:
                self._come_back(line)
            elif status == "queued":
                self._stand_aside(line, called)
            elif has_begun or status != "started":
                # One that has a slot has still to ask for the key, which might be kept for the next by then.
                self._come_back(line)
        self.look_at = time.monotonic() + SOON if self._called else math.inf

    def _stand_aside(self, line: tuple[Guard, str], called: Waiter) -> None:
        if line in self._aside:
            return
        guard, key = line
        same = [each for each in self._waiters() if each.line == line]
        self._aside[line] = {each.job_id: each for each in same}
        # The called one is the last, or another of them would be called for it.
        guard.leave_line(key, *(each.wait.ticket for each in same), called.wait.ticket)

    def _come_back(self, line: tuple[Guard, str]) -> None:
        del self._called[line]
        for waiter in self._aside.pop(line, {}).values():
            waiter.line_up()
