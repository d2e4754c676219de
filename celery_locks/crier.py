"""Reports what became of leases, from a thread of its own: those who listen may take long."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from celery_locks.loss import report, report_outage
from celery_locks.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Claim, Lease
    from celery_locks.ward import Watched


#: Of beats without an answer so many are remembered for a receiver that is slow, the latest.
REMEMBERED = 10_000


class Crier:
    """Losses that are still to be reported, each when the other process that knows the lease has had time to do it.

    And beats without an answer, which can wait until no loss is due.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._unsaid: dict[str, tuple[float, Watched]] = {}
        self._doubts: deque[tuple[Claim, str]] = deque(maxlen=REMEMBERED)
        self._rounds = Rounds("crier", self._mutex, self.report, self._next, clock)

    def add(self, watched: Watched) -> None:
        """It is lost, and its job is about to be told."""
        when = self._clock() + watched.ward.patience
        with self._mutex:
            self._unsaid[watched.lease.owner] = when, watched

    def begin(self) -> None:
        """Report them, now that the jobs were told."""
        with self._mutex:
            if self._unsaid:
                self._rounds.expect(min(when for when, _ in self._unsaid.values()))

    def doubt(self, claims: Sequence[Claim], reason: str) -> None:
        """A beat for these had no answer. They may be many, and the next try is due soon."""
        with self._mutex:
            self._doubts.extend((claim, reason) for claim in claims)
            self._rounds.expect(self._clock())

    def report(self) -> None:
        """Report what nobody else has, and whose time has come."""
        while True:
            if watched := self._due():
                _report(watched)
            elif self._doubts:
                claim, reason = self._doubts.popleft()
                report_outage(claim, "renew", reason)
            else:
                return

    def settle(self, held: Lease | Claim) -> None:
        """Report it now, if that is still to be done: its job is over."""
        if held.owner in self._unsaid:
            with self._mutex:
                _, watched = self._unsaid.pop(held.owner, (0.0, None))
            if watched:
                _report(watched)

    def _due(self) -> Watched | None:
        now = self._clock()
        with self._mutex:
            for owner, (when, watched) in self._unsaid.items():
                if when <= now:
                    del self._unsaid[owner]
                    return watched
        return None

    def _next(self) -> float | None:
        if self._doubts:
            return self._clock()
        return min((when for when, _ in self._unsaid.values()), default=None)


def _report(watched: Watched) -> None:
    if watched.ward.reports(watched.lease):
        report(watched.lease)
