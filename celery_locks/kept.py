"""A lease of a pool's process that its parent keeps: what the process hears, and what it does when that is silent."""

from __future__ import annotations

import logging
import math
import os
from typing import TYPE_CHECKING

from celery_locks.interrupt import kill
from celery_locks.record import FLAG, KILL, RAISE, News
from celery_locks.ward import Ward

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.board import Region
    from celery_locks.lease import Lease

    OnLost = Callable[[Lease], None] | None

logger = logging.getLogger("celery_locks.keeper")

#: A process renews its lease itself when its parent has not for this many intervals.
OVERDUE = 1.5
#: A loss that the parent has not reported after so many seconds is the process's to report.
PATIENCE = 0.5
#: A lease counts as lost so long before its end, as a part of its ttl and at most in seconds: time to end the process,
#: or to be the first who tells. A process that stands in for its parent comes half as early: it is not to be the first.
_MARGINS = {FLAG: (0.05, 0.5), RAISE: (0.05, 0.5), KILL: (0.2, 2.0)}


def margin(on_lost: int, ttl: float) -> float:
    """How long before its end a lease counts as lost in the parent."""
    part, most = _MARGINS[on_lost]
    return min(part * ttl, most)


def pace(interval: float, ttl: float) -> float:
    """How soon the parent must know of it: before its first beat is due, or its end, where there is no beat."""
    return min(interval, ttl / 2)


class Kept(Ward):
    """Such a lease, for which its process beats only when the parent does not. Either shows the other what it does."""

    __slots__ = ("_head", "_heard", "_margin", "_on_lost", "_region", "_since", "interval", "on_lost", "slot", "ttl")

    patience = PATIENCE

    def __init__(self, region: Region, slot: int, interval: float, on_lost: OnLost) -> None:
        self.slot = slot
        self.interval = interval
        self.on_lost = FLAG if on_lost is None else KILL if on_lost is kill else RAISE
        self._on_lost = on_lost
        self._region = region

    def begin(self, head: int, lease: Lease, since: float) -> None:
        """It is kept from then on, for its ttl of now."""
        self._head, self._since, self._heard, self.ttl = head, since, since, lease.ttl
        self._margin = margin(self.on_lost, lease.ttl) / 2
        lease.news = self

    def pause(self) -> None:
        """What the parent tells from now on is of another length of time: until it is begun again, it is not heard."""
        self._since = math.inf

    def __call__(self, lease: Lease) -> None:
        """Take note of what the parent shows."""
        if self._region.ended(self.slot) < self._since:
            return
        news = self._region.news(self.slot, self._head)
        if news is None:
            return
        if news.is_lost:
            # Reported by the parent, which has sent a signal too. One that was sent while this process was stopped may
            # have come to a thread that it does not interrupt.
            if lease.lose(news.reason) and self._on_lost:
                self._on_lost(lease)
        elif lease.deadline is not None and news.deadline > lease.deadline:
            lease.extend(news.deadline)

    def due(self, due: float) -> float | None:
        """Half an interval late, counted from when the parent last tried."""
        began = self._region.began(self.slot)
        if began > self._heard:
            self._heard = began
        elif due > self._since + self.interval:
            # We have beaten already, and know better when to do it next.
            return due
        return self._heard + OVERDUE * self.interval

    def end(self, deadline: float) -> float:
        """At its end, which the parent does not wait for; before, where the parent is silent by then."""
        silent = max(self._region.began(self.slot), self._since) + OVERDUE * pace(self.interval, self.ttl)
        return min(deadline, max(deadline - self._margin, silent))

    def soonest(self, deadline: float) -> float:
        """Told without a look at what the parent does."""
        return deadline - self._margin

    def begins(self, now: float) -> bool:
        """The parent has not renewed it: say so, once a process."""
        if not _orphans:
            _orphans.append(now)
            logger.warning("the worker's main process does not renew our leases: process %d does it now", os.getpid())
        return True

    def ended(self, lease: Lease, now: float) -> None:  # noqa: ARG002 - a parent notes it
        """Show the parent until when it is held: it may come back."""
        if lease.deadline is not None and not lease.is_over:
            self._region.tell_own(self.slot, self._head, News(lease.deadline))

    def lost(self, lease: Lease) -> None:
        """Show the parent that it is lost: if this process ends itself for it, there is nobody else to report that."""
        self._show_loss(lease, is_said=False)

    def reports(self, lease: Lease) -> bool:
        """Whether the parent has not. It is told that it need not."""
        news = self._region.news(self.slot, self._head)
        if news is not None and news.is_lost:
            return False
        self._show_loss(lease, is_said=True)
        return True

    def _show_loss(self, lease: Lease, *, is_said: bool) -> None:
        news = News(-math.inf, is_lost=True, reason=lease.reason, is_said=is_said)
        self._region.tell_own(self.slot, self._head, news)


class Doomed(Ward):
    """A lease that no parent keeps and whose loss ends its process: it counts as lost early enough for that."""

    __slots__ = ("_lease",)

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def end(self, deadline: float) -> float:
        """Before another can have the key, whatever ends the process takes."""
        return deadline - margin(KILL, self._lease.ttl)


_orphans: list[float] = []


def watch_afresh() -> None:
    """Forget what was said of the last parent: this process has another, or none."""
    _orphans.clear()
