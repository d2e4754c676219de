"""Leases that another process keeps, and that are to be watched here only once they have lasted for a while."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_locks.ward import Given

#: After this part of its ttl a lease is looked at for the first time: long before there is anything to be done for it.
PART = 0.125


class Coming:
    """Most jobs are over before anybody looks: what they leave here is taken away again, and cost next to nothing.

    Whoever adds does not wait for who looks. A thread that asks `looks_at` and then sleeps is late for none that was
    added before it asked.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Know of none."""
        self._given: dict[str, Given] = {}
        self._pause = math.inf
        self._is_busy = False
        self._looks_at = math.inf

    def add(self, given: Given) -> float:
        """Take note of a lease; how soon after its begin it must be looked at."""
        lease = given[0]
        self._given[lease.owner] = given
        self._is_busy = True
        return PART * lease.ttl

    def drop(self, owner: str) -> bool:
        """It is over; False when it is not here, or no more."""
        return self._given.pop(owner, None) is not None

    def look_by(self, when: float, pause: float) -> None:
        """Look at that time, and for as long as more come again after each pause."""
        self._looks_at = min(self._looks_at, when)
        self._pause = min(self._pause, pause)

    def taken(self, now: float) -> list[Given]:
        """Those that are here, which are watched from now on."""
        # Any of them may be over this moment.
        taken = [given for owner in list(self._given) if (given := self._given.pop(owner, None))]
        # Others look too, between two times at which it was to be done.
        if now >= self._looks_at:
            # As long as jobs come one after the other nobody is to be woken for each.
            was_busy, self._is_busy = self._is_busy, False
            if not was_busy:
                self._pause = math.inf
            self._looks_at = now + self._pause
        return taken

    def looks_at(self, now: float) -> float | None:
        """When to look again."""
        if self._given and self._looks_at == math.inf:
            return now
        return None if self._looks_at == math.inf else self._looks_at
