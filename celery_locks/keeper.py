"""Renews leases while their work goes on, many in one round trip, and reports a loss once."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from celery_locks import keepers, telling
from celery_locks.coming import Coming
from celery_locks.crier import Crier
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import State
from celery_locks.loss import strike
from celery_locks.renewal import UNANSWERED, renewed, renewed_for, stays
from celery_locks.rounds import Rounds
from celery_locks.stores.several import Several
from celery_locks.ward import Given, Ward, Watched, began

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Claim, Lease
    from celery_locks.stores import Store

logger = logging.getLogger("celery_locks.keeper")

#: Leases due within this part of their interval are renewed in the same round trip.
TOGETHER = 0.2
#: After a beat without an answer the next try comes this soon, as a part of the interval.
AGAIN = 0.25

#: Nobody else knows of the lease.
_ALONE = Ward()


class Keeper:
    """Keeps all leases of a store in this process, from two threads that start with the first of them.

    One beats. The other only watches the time, so that a lease whose time is over is known to be lost also while a
    beat waits for a store that hangs. A third comes with the first loss, or beat without an answer, and reports it.
    They need the interpreter: a job that holds the GIL past its ttl starves them, which is why a worker's main process
    keeps the leases of its pool.
    """

    #: It was made before this process was forked: the parent knows it by the same number.
    is_inherited = False

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._several = Several(store)
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        self._coming = Coming()
        self.start_afresh()
        self.number = keepers.entered(self)

    def renew(self, lease: Lease, ttl: float) -> bool:
        """Renew a lease now, for `ttl` seconds from now on; False when the store says that it is gone."""
        with self._mutex:
            self._take_up()
            watched = self._watched.get(lease.owner)
        if watched is None:
            return renewed_for(self._several, lease, ttl, self._clock)
        soon = 0.0
        try:
            # Not while a beat is under way: of two renewals that meet in the store nobody knows whose ttl counts.
            with self._beating:
                ours = renewed_for(self._several, lease, ttl, self._clock)
            soon = watched.interval
        finally:
            self._beat_in(watched, soon)
        return ours

    def all_watched(self) -> list[Watched]:
        """All that is kept now, as it was at one moment."""
        return list(self._watched.values())

    def watch(
        self, lease: Lease, interval: float, on_lost: Callable[[Lease], None] | None = None, ward: Ward = _ALONE
    ) -> None:
        """Beat for a lease from now on; `on_lost` is called once, from a thread of the keeper, if it is lost."""
        with self._mutex:
            self._watch(Given(lease, interval, on_lost, ward))

    def watch_later(self, given: Given) -> None:
        """The same for a lease that another process keeps: from when it has lasted for a while."""
        pause, since = self._coming.add(given), began(given.lease, 0.0)
        if not since <= self._ends.wakes_at <= since + pause:
            with self._mutex:
                self._coming.look_by(since + pause, pause)
                self._ends.expect(since + pause)

    def give_back(self, lease: Lease) -> bool:
        """Release what a process held that is no more, when its key need not stay taken."""
        return self._stays(lease) is True or self._several.verbs(lease.claim).disown(lease.claim)

    def leave(self, lease: Lease) -> bool:
        """Give the key back, or have it freed when it need not stay taken any more; False when it was not ours."""
        ours = self._stays(lease)
        return self._several.verbs(lease.claim).release(lease.claim) if ours is None else ours

    def forget(self, held: Lease | Claim) -> None:
        """Beat for it no more. A beat under way may still reach the store and is not reported."""
        if not self._coming.drop(held.owner):
            with self._mutex:
                self._watched.pop(held.owner, None)

    def settle(self, held: Lease | Claim) -> None:
        """Report its loss now, if that is still to be done: its job is over."""
        self._crier.settle(held)

    def tick(self) -> None:
        """Renew what is due, and report what is lost."""
        self.expire()
        for due in self._due():
            self._beat(due)

    def expire(self) -> None:
        """End the jobs whose leases' time is over, and have it reported."""
        with self._mutex:
            self._take_up()
        now = self._clock()
        over = [watched for watched in self.all_watched() if watched.is_over(now)]
        self._lose(over, "its ttl ran out before it could be renewed")

    def start_afresh(self) -> None:
        """Know of nothing: a forked child has neither its parent's leases nor its threads, and a mutex in any state."""
        self._mutex, self._beating = threading.Lock(), threading.Lock()
        self._watched.clear()
        self._coming.clear()
        self._crier = Crier(self._clock)
        self._beats = Rounds("keeper", self._mutex, self.tick, self._next_beat, self._clock)
        self._ends = Rounds("watch", self._mutex, self.expire, self._next_end, self._clock)

    def inherit(self, number: int) -> None:
        """The main process of this one, which spawned it, knows it by this number."""
        self.number, self.is_inherited = number, True

    def _stays(self, lease: Lease) -> bool | None:
        """Whether its key stays taken for as long as it is to; None when it need not stay any more."""
        if lease.until <= self._clock():
            return None
        # Not while a beat is under way: of two renewals that meet in the store nobody knows whose ttl counts.
        with self._beating:
            left = lease.until - self._clock()
            return stays(self._several, lease, left) if left > 0 else None

    def _beat_in(self, watched: Watched, soon: float) -> None:
        with self._mutex:
            watched.due = self._clock() + soon
            if self._watched.get(watched.lease.owner) is watched:
                self._expect(watched)

    def _take_up(self) -> None:
        for given in self._coming.taken(self._clock()):
            self._watch(given)

    def _watch(self, given: Given) -> None:
        watched = Watched.of(given, self._clock())
        if watched.is_wanted():
            self._watched[given.lease.owner] = watched
            self._expect(watched)

    def _expect(self, watched: Watched) -> None:
        self._beats.expect(watched.due)
        deadline = watched.lease.deadline
        if deadline is not None:
            self._ends.expect(watched.ward.soonest(deadline))

    def _next_beat(self) -> float | None:
        return min((watched.due for watched in self._watched.values()), default=None)

    def _next_end(self) -> float | None:
        ends = [watched.end for watched in self._watched.values()]
        return min((end for end in (*ends, self._coming.looks_at(self._clock())) if end is not None), default=None)

    def _wanted(self) -> list[Watched]:
        wanted = []
        for each in self.all_watched():
            if each.is_wanted():
                wanted.append(each)
            else:
                self._drop(each)
        return wanted

    def _due(self) -> list[list[Watched]]:
        """What to renew together. Those that had no answer come last: the others are not to wait for theirs."""
        now = self._clock()
        watched = self._wanted()
        if not any(each.due <= now for each in watched):
            return []
        parts: tuple[list[Watched], list[Watched]] = ([], [])
        for each in watched:
            if each.due - TOGETHER * each.interval <= now:
                parts[each.lease.state is State.UNKNOWN].append(each)
        return [part for part in parts if part]

    def _beat(self, due: list[Watched]) -> None:
        before = self._clock()
        try:
            with self._beating:
                due = [watched for watched in due if watched.ward.begins(before)]
                lost = renewed(self._several, [watched.lease for watched in due], self._clock) if due else set()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the beat of a worker's leases
            self._doubt(due, error)
            return
        finally:
            for watched in due:
                watched.ward.ended(watched.lease, self._clock())
        telling.beat(due, before, self._clock)
        for watched in due:
            watched.due = before + watched.interval
        self._lose([each for each in due if each.lease in lost], "the store says that it expired or was taken away")
        if silent := [watched for watched in due if watched.lease.state is State.UNKNOWN]:
            self._doubt(silent, StoreUnavailable(UNANSWERED))

    def _doubt(self, due: list[Watched], error: Exception) -> None:
        """Not knowing is not losing: keep trying until a lease's time is over."""
        expected = isinstance(error, StoreUnavailable)
        logger.warning("no answer to a beat for %d leases, trying again: %s", len(due), error, exc_info=not expected)
        now = self._clock()
        for watched in due:
            watched.lease.doubt()
            left = watched.lease.remaining
            watched.due = now + min(AGAIN * watched.interval, watched.interval if left is None else left)
        self._crier.doubt([watched.lease.claim for watched in due], str(error))

    def _lose(self, watched: list[Watched], reason: str) -> None:
        """All the jobs are told before anything is reported: whoever listens to that may take long."""
        # What was released meanwhile, and is gone for that, is no loss.
        lost = [each for each in watched if self._drop(each) and each.is_wanted() and each.lease.lose(reason)]
        for each in lost:
            each.ward.lost(each.lease)
            self._crier.add(each)
        for each in lost:
            strike(each.lease, each.on_lost)
        if lost:
            self._crier.begin()

    def _drop(self, watched: Watched) -> bool:
        """Watch it no more, unless its owner's lease is another by now."""
        with self._mutex:
            still = self._watched.get(watched.lease.owner) is watched
            if still:
                del self._watched[watched.lease.owner]
        return still
