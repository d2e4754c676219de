"""A lease that a process of the pool holds, as the worker's main process keeps it."""

from __future__ import annotations

import logging
import math
import signal
from typing import TYPE_CHECKING

from celery_locks import keepers
from celery_locks.board import barrier
from celery_locks.interrupt import SIGNAL
from celery_locks.kept import margin
from celery_locks.lease import Claim, Lease, State
from celery_locks.record import KILL, RAISE, News
from celery_locks.ward import Ward

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.board import Region
    from celery_locks.record import Entry, Term

logger = logging.getLogger("celery_locks.worker")


class Child(Ward):
    """Such a lease. Its process reads what is shown on the board, and may have beaten itself while we did not."""

    def __init__(  # noqa: PLR0913 - where it is, what is there, and what it is kept with
        self,
        region: Region,
        slot: int,
        entry: Entry,
        term: Term,
        *,
        strike: Callable[[int, signal.Signals], None],
        clock: Callable[[], float],
    ) -> None:
        self.head = region.head(slot)
        self.keeper = keepers.numbered(entry.keeper)
        claim = Claim(entry.key, entry.owner, term.ttl, entry.task, entry.task_id, others=entry.others)
        self.lease = Lease(claim, term.fence, term.deadline, clock)
        self.lease.news = self
        self.lease.until = term.until
        self.interval = term.interval
        self._margin = margin(term.on_lost, term.ttl)
        self._region, self._slot = region, slot
        self._pid, self._on_lost = entry.pid, term.on_lost
        self._clock = clock
        self._strike = strike

    def watch(self) -> None:
        """Have it kept, if it can be."""
        if self.keeper:
            self.keeper.watch(self.lease, self.interval, self.strike, self)

    def forget(self) -> None:
        """It is held no more, or in another way."""
        if self.keeper:
            self.keeper.forget(self.lease)

    def is_held(self) -> bool:
        """Whether the process holds it still."""
        return self._region.head(self._slot) == self.head

    def __call__(self, lease: Lease) -> None:
        """Take note of what the process did itself: we may have been stopped."""
        news = self._region.own_news(self._slot, self.head)
        if news is None or lease.deadline is None:
            return
        if news.is_said:
            lease.lose(news.reason)
        elif not news.is_lost and news.deadline > lease.deadline:
            lease.extend(news.deadline)

    def due(self, due: float) -> float | None:
        """As it is, as long as it is held."""
        return due if self.is_held() else None

    def end(self, deadline: float) -> float:
        """Before its time is over: its process needs time to die, and is not to be the first who reports it."""
        return deadline - self._margin

    def begins(self, now: float) -> bool:
        """Say so first and look then: whoever takes the lease into its own hands does it the other way round."""
        self._region.begin(self._slot, now)
        barrier()
        if self.is_held():
            return True
        self._region.end(self._slot, now)
        return False

    def ended(self, lease: Lease, now: float) -> None:
        """Show until when it is held."""
        if lease.deadline is not None and lease.state in (State.HELD, State.UNKNOWN):
            self._region.tell(self._slot, self.head, News(lease.deadline))
        self._region.end(self._slot, now)

    def lost(self, lease: Lease) -> None:
        """Show why it is lost. Its process looks once more when it has given the key back."""
        self._region.tell(self._slot, self.head, News(-math.inf, is_lost=True, reason=lease.reason))
        self._region.end(self._slot, self._clock())
        barrier()

    def strike(self, lease: Lease) -> None:  # noqa: ARG002 - a keeper names it
        """End the job, as its task wishes; not one that comes after it: whoever has left hears of the loss himself."""
        if not self.is_held():
            return
        if self._on_lost == KILL:
            self._strike(self._pid, signal.SIGKILL)
        elif self._on_lost == RAISE:
            self._strike(self._pid, SIGNAL)

    def reports(self, lease: Lease) -> bool:
        """It is for us to report, unless its process has done so. What may block comes after all signals are sent."""
        news = self._region.own_news(self._slot, self.head)
        if news is not None and news.is_said:
            return False
        if self._on_lost == KILL:
            logger.critical(
                "the lease of %s is lost: ending process %d (lock_on_lost='kill')", lease.claim.shown, self._pid
            )
        return True

    def lost_by_itself(self) -> str:
        """Why its process has found it lost, if nobody has reported that."""
        news = self._region.own_news(self._slot, self.head)
        return news.reason if news and news.is_lost and not news.is_said else ""


def shown(region: Region, slot: int, clock: Callable[[], float]) -> Lease | None:
    """The lease that is in a slot, to look at; None when that cannot be told at this moment."""
    entry, term, news = region.entry(slot), region.term(slot), region.news(slot, region.head(slot))
    if entry is None or term is None:
        return None
    claim = Claim(entry.key, entry.owner, term.ttl, entry.task, entry.task_id, others=entry.others)
    return Lease(claim, term.fence, max(term.deadline, news.deadline if news else 0.0), clock)
