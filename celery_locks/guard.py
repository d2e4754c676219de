"""The flow of one locked piece of work: take the key, keep it, do the work, give it back. It knows no queue."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from celery_locks import signals, staying, telling
from celery_locks.care import Care
from celery_locks.current import carrying
from celery_locks.errors import StoreUnavailable
from celery_locks.gone_heirs import gone
from celery_locks.instrumentation import log
from celery_locks.keeper import Keeper
from celery_locks.lease import Busy, Lease, State
from celery_locks.loss import lose, report_outage
from celery_locks.patience import Patience
from celery_locks.stores.base import Lines, Waiting
from celery_locks.stores.several import Several
from celery_locks.surely import NO_INTERRUPT
from celery_locks.waker import Waker

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.kept import OnLost
    from celery_locks.lease import Claim
    from celery_locks.stores import Store

logger = logging.getLogger("celery_locks.guard")
log.install()

T = TypeVar("T")
B = TypeVar("B")

#: Why there is no lease: the key is taken, or the store cannot say.
Refusal: TypeAlias = "Busy | StoreUnavailable"
#: A lease without a heartbeat would be renewed after so many ttls: only its end is watched.
NEVER = 10.0


class Guard:
    """Takes, keeps and gives back the keys of one store."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.store = store
        self._several = Several(store)
        self._clock = clock
        #: Who beats for its leases in this process.
        self.keeper = keeper or Keeper(store, clock)
        self.waker = Waker(store, clock) if isinstance(store, Lines) else None
        self.care = Care(store, self.keeper)
        self._patience = Patience(store, self.waker, clock, sleep or time.sleep)

    def run(  # noqa: PLR0913 - a call that says how, by name
        self,
        claim: Claim,
        job: Callable[[Lease], T],
        otherwise: Callable[[Refusal], B],
        *,
        wait: float = 0.0,
        beat: float | None = None,
        on_lost: OnLost = None,
        strict: bool = True,
        in_line: bool = True,
    ) -> T | B:
        """Do the work under the claim's key; what the store answered instead of a lease goes to `otherwise`.

        `strict`: raise `LockLost` when the work is done but its lease was lost on the way. `in_line`: who waits here
        waits in the line of the key, where the store keeps one.
        """
        lease: Lease | Refusal | None = None
        try:
            lease = self._entered(claim, wait, beat, on_lost, in_line=in_line)
            if isinstance(lease, Lease):
                with carrying(lease):
                    result = job(lease)
                ours = self.ended(lease)
        except BaseException as error:
            try:
                self._end(claim, lease, error)
            except BaseException:
                # Interrupted while it gave back what is held: once more, before the interrupt goes on.
                self._end(claim, lease, error)
                raise
            raise
        if not isinstance(lease, Lease):
            return otherwise(lease)
        if strict and not ours:
            raise lease.loss()
        return result

    def enter(
        self,
        claim: Claim,
        *,
        wait: float | None = 0.0,
        beat: float | None = None,
        on_lost: OnLost = None,
        in_line: bool = True,
    ) -> Lease | Busy:
        """Take the key, waiting at most `wait` seconds for it (None: for ever), and keep it with a beat."""
        started = self._clock()
        if in_line and wait != 0.0 and claim.ticket is None:
            claim = self.lined_up(claim)
        outcome = self.ask(claim, started, beat=beat, on_lost=on_lost, wait=wait)
        if isinstance(outcome, Busy):
            telling.contended(claim, outcome, self._clock() - started)
        return outcome

    def ask(  # noqa: PLR0913 - a call that says how, by name
        self,
        claim: Claim,
        started: float,
        *,
        beat: float | None,
        on_lost: OnLost,
        wait: float | None = 0.0,
        once: bool = False,
    ) -> Lease | Busy:
        """Take the key as `enter` does; `once`: whoever finds it taken waits elsewhere, and keeps a place in line."""
        claim = self.care.claims(claim, beat)
        outcome = self._take(claim, started, wait, beat, once=once)
        if isinstance(outcome, Busy):
            self.care.left(claim)
            return outcome
        waited = self._clock() - started
        outcome.renewer = self.renew
        outcome.since = started + waited
        if claim.at_least:
            outcome.until = outcome.since + claim.at_least
        if beat is not None or on_lost or self.store.in_connection or (claim.at_least and claim.task):
            self.care.watch(outcome, beat or (claim.ttl if self.store.in_connection else NEVER * claim.ttl), on_lost)
        if signals.acquired:
            telling.acquired(outcome, waited)
        return outcome

    def lined_up(self, claim: Claim) -> Claim:
        """The claim of one that waits where it asks: with a ticket, where that is of use."""
        return self._patience.with_ticket(claim)

    def leave(self, lease: Lease) -> bool:
        """Give the key back; False when it was no longer ours. The lease is kept while the store cannot be reached."""
        if lease.state is State.RELEASED:
            return True
        self.care.forget(lease)
        try:
            claim = lease.claim
            released = self.care.leave(lease) if claim.at_least else self.verbs(claim).release(claim)
        finally:
            self.care.left(lease)
        if released and lease.state is not State.LOST:
            lease.state = State.RELEASED
            if signals.released:
                telling.released(lease, self._clock() - lease.since)
            return True
        if lose(lease, "it had expired or was taken away when it was to be released"):
            telling.expired(lease, self._clock() - lease.since)
        return False

    def renew(self, lease: Lease, ttl: float) -> None:
        """Extend a lease now. Raises `LockLost` when it is no longer ours."""
        lease.ensure_held()
        if not self.care.renew(lease, ttl):
            self.care.forget(lease)
            lose(lease, "the store says that it expired or was taken away")
        # It may have been lost meanwhile too.
        lease.ensure_held()

    def ended(self, lease: Lease) -> bool:
        """Give the key back. A store that cannot be reached does not hide what became of the work: the ttl ends it."""
        try:
            return self.leave(lease)
        except StoreUnavailable as error:
            extra = report_outage(lease.claim, "release", error.message)
            logger.warning("%s stays taken until its lease ends: %s", lease.claim.shown, error, extra=extra)
            return lease.held()

    def interrupted(self, claim: Claim, error: BaseException) -> None:
        """Give back whatever this claim may have taken before its answer was heard, a soft time limit or Ctrl-C."""
        if not isinstance(error, NO_INTERRUPT):
            self.care.forget(claim)
            self._abandon(claim)
        self.care.left(claim)

    def leave_line(self, key: str, *tickets: str | None) -> None:
        """Take tickets out of their key's line, as far as the store can be reached: else a turn passes unclaimed."""
        self._patience.leave([Waiting(key, ticket) for ticket in tickets if ticket])

    def leave_lines(self) -> None:
        """Take all who wait in this process out of line. Their tickets bring them back to their places."""
        if self.waker:
            self._patience.leave(self.waker.all_forgotten())

    def verbs(self, claim: Claim) -> Store | Several:
        """The verbs of the store for a claim of one key, or for one of several."""
        return self._several.verbs(claim)

    def _entered(
        self, claim: Claim, wait: float, beat: float | None, on_lost: OnLost, *, in_line: bool
    ) -> Lease | Refusal:
        try:
            return self.enter(claim, wait=wait, beat=beat, on_lost=on_lost, in_line=in_line)
        except StoreUnavailable as outage:
            return outage

    def _take(
        self, claim: Claim, started: float, wait: float | None, beat: float | None, *, once: bool
    ) -> Lease | Busy:
        asking, outcome = staying.asked(claim) if claim.at_least else claim, None
        try:
            outcome = self.verbs(claim).acquire(asking)
            if isinstance(outcome, Busy):
                outcome = outcome if once else self._patience.wait(asking, outcome, started, wait)
            if isinstance(outcome, Lease) and claim.at_least:
                staying.begin(outcome, claim, beat)
            return self._in_time(outcome) if isinstance(outcome, Lease) else outcome
        except StoreUnavailable as error:
            gone(claim, outcome, self.store, self.care)
            report_outage(claim, "acquire", error.message)
            raise StoreUnavailable(f"{claim.shown} could not be locked: {error}", claim.key) from error

    def _in_time(self, lease: Lease) -> Lease:
        if lease.held():
            return lease
        self._abandon(lease.claim)
        text = f"the store took longer to answer than the lease lasts ({lease.ttl:g} s): use a longer ttl"
        raise StoreUnavailable(text, lease.key)

    def _end(self, claim: Claim, lease: Lease | Refusal | None, error: BaseException) -> None:
        """Whatever ended the work, its own error is the one that is seen."""
        if isinstance(lease, Lease):
            self.ended(lease)
        elif lease is None:
            self.interrupted(claim, error)

    def _abandon(self, claim: Claim) -> None:
        try:
            self.verbs(claim).release(claim)
        except StoreUnavailable as error:
            logger.warning("%s may stay taken for %g s: %s", claim.shown, claim.ttl, error)
