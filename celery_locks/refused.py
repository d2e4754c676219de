"""What becomes of a job that was refused its lease: it comes again, is skipped, fails, or runs without one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from celery import signals as celery_signals
from celery import states
from celery.exceptions import Ignore, Reject, Retry, TaskRevokedError

from celery_locks import closing, events, pooled, requeue, signals
from celery_locks.current import carrying
from celery_locks.errors import LockTimeout, StoreUnavailable
from celery_locks.lease import Claim, Lease
from celery_locks.owner import Owner
from celery_locks.policies import (
    NOTHING,
    Contention,
    Requeue,
    Skip,
    after_outage,
    countdown,
    decide,
    is_patient,
    until_free,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.guard import Refusal
    from celery_locks.lease import Busy
    from celery_locks.plan import Plan

T = TypeVar("T")

#: Why a job is revoked whose time to run is over, in Celery's own word.
EXPIRED = "expired"


class Skipped(Ignore):
    """Ends a job that its policy does not want to run."""


class Passed(Ignore):
    """Ends a copy of a message whose job runs or has ended: what is known of that stays as it is."""


class Refused:
    """One try of a job that has no lease."""

    def __init__(  # noqa: PLR0913 - what its execution knows of it
        self,
        task: Any,
        plan: Plan,
        claim: Claim,
        *,
        request: Any,
        started: float,
        heed: Callable[[], object] | None,
        has_ended: Callable[[], bool],
    ) -> None:
        self._task = task
        self._plan = plan
        self._options = plan.options
        self._claim = claim
        #: The message it runs for; of a call by hand there is none.
        self._request = request
        self._queued = request is not None and not request.is_eager
        self._started = started
        #: Raises when the job has ended before, and this is a copy of its message.
        self._heed = heed
        #: Whether another copy has, for all that is known of it.
        self._has_ended = has_ended

    def end(self, refusal: Refusal, work: Callable[[Lease], Any]) -> Any:
        """The job's result; or the exception that tells Celery where it goes instead."""
        if isinstance(refusal, StoreUnavailable):
            return self._without_store(refusal, work)
        try:
            return self._contended(self._contention(refusal), refusal.ticket)
        except (Retry, requeue.CopyWaits):
            raise
        except BaseException:
            self._plan.guard.leave_line(refusal.key or self._claim.key, refusal.ticket)
            raise

    def _contended(self, contention: Contention, ticket: str | None) -> Any:
        options = self._options
        if closing.calls(self._claim.owner):
            raise self._called_back(contention, ticket)
        meets_itself = self._meets_itself(contention)
        # A key that is to stay taken may be so of a job that has ended.
        if self._heed and (options.at_least or not meets_itself):
            self._heed()
        if meets_itself:
            # No policy is asked: were this copy dropped and the other died, the job would be lost.
            asked: float | str = options.countdown
            if self._stays_for_it():
                asked = until_free(asked, contention, in_line=ticket is not None)
            raise self._requeued(contention, asked, ticket, counted=False)
        decision = decide(options.on_contention, contention, most=options.max_requeues, longest=options.max_wait)
        match decision:
            case Requeue(delay) if self._queued:
                raise self._requeued(contention, options.countdown if delay is None else delay, ticket)
            case _ if self._has_ended():
                # Else those behind it would be revoked, or failed, with it: they run.
                raise Passed(f"{contention}; the job has ended: this is a copy of its message")
            case Skip(result, reason) if result is not NOTHING or self._claim.task_id:
                self._plan.guard.leave_line(contention.key, ticket)
                return self._skipped(contention, result, reason)
        raise self._timeout(contention, getattr(decision, "reason", None))

    def _meets_itself(self, contention: Contention) -> bool:
        """Whether a job finds its key taken by itself.

        One that is sent once: its message came twice, and the other runs. One that is tried again: its key is to stay
        taken for a while after the try before.
        """
        is_seen_to = self._heed is not None or self._stays_for_it()
        return is_seen_to and Owner.of(contention.holder or "")[1:3] == (self._task.name, self._claim.task_id)

    def _is_copy(self, contention: Contention) -> bool:
        """Whether what is known of the job is left to another copy of its message."""
        return (self._meets_itself(contention) and not self._stays_for_it()) or self._has_ended()

    def _stays_for_it(self) -> bool:
        """Whether its key may have to stay taken after an earlier try of its own."""
        return bool(self._options.at_least and self._queued and self._request.retries)

    def _without_store(self, outage: StoreUnavailable, work: Callable[[Lease], Any]) -> Any:
        if self._options.on_outage == "run":
            lease = Lease.unlocked(self._claim)
            with carrying(lease):
                return work(lease)
        if self._options.on_outage == "requeue" and self._queued:
            delay = after_outage(self._options.countdown)
            raise requeue.again(self._task, delay, outage, counted=False)
        raise outage

    def _called_back(self, contention: Contention, ticket: str | None) -> Exception:
        """Its worker is about to end, and it waits on elsewhere."""
        if closing.mine and self._claim.task_id:
            closing.mine.goes(self._claim.task_id, pooled.place())
            if closing.mine.how == closing.AT_ONCE and self._task.acks_late:
                # The broker delivers what is not acknowledged once more: a message of our own would make it two.
                return Reject(f"{contention}, and its worker ends", requeue=True)
        return self._requeued(contention, self._options.countdown if ticket else 0.0, ticket, counted=False)

    def _requeued(
        self, contention: Contention, asked: float | str, ticket: str | None, *, counted: bool = True
    ) -> Exception:
        is_copy = self._is_copy(contention)
        if requeue.expired(self._task):
            # Of a key that is to stay taken nobody knows whether the other runs or has died: it is reported.
            return Passed(EXPIRED) if is_copy and not self._options.at_least else self._revoked(EXPIRED)
        longest = self._options.max_wait
        delay = countdown(asked, contention, longest=longest, in_line=ticket is not None)
        place = requeue.Place(ticket, patient=is_patient(asked, longest), comes=self._comes()) if ticket else None
        text = f"{contention}; tried again in {delay:.1f} s at the latest"
        reason = LockTimeout(text, contention.key, contention.holder)
        exception = requeue.again(self._task, delay, reason, counted=counted, in_line=place, is_copy=is_copy)
        told = delay, contention.requeues + counted, contention.place
        signals.requeued.send(self._event(events.Requeued, contention, *told))
        return exception

    def _comes(self) -> bool:
        """Whether it comes into a slot as the next in line. One that waited there in vain comes for its turn."""
        return bool(self._options.wait) and time.monotonic() - self._started < self._options.wait

    def _skipped(self, contention: Contention, result: Any, reason: str | None) -> Any:
        reason = reason or f"skipped: {contention}"
        signals.skipped.send(self._event(events.Skipped, contention, reason))
        if result is not NOTHING:
            return result
        raise self._revoked(reason) if self._queued else Skipped(reason)

    def _revoked(self, reason: str) -> Skipped:
        """End the job as a revoked one for all who wait for it: its result, its chord, the rest of its chain."""
        request, error = self._task.request, TaskRevokedError(reason)
        self._task.backend.mark_as_failure(
            request.id,
            error,
            request=request,
            store_result=not requeue.ignores_result(self._task, request),
            call_errbacks=False,
            state=states.REVOKED,
        )
        expired = reason == EXPIRED
        celery_signals.task_revoked.send(self._task, request=request, terminated=False, signum=None, expired=expired)
        return Skipped(reason)

    def _timeout(self, contention: Contention, reason: str | None) -> LockTimeout:
        because = f": {reason}" if reason else ""
        return LockTimeout(f"{contention}; the job gives up{because}", contention.key, contention.holder)

    def _event(self, kind: Callable[..., T], contention: Contention, *facts: object) -> T:
        claim = self._claim
        return kind(contention.key, claim.owner, contention.holder, *facts, **events.of(claim))

    def _contention(self, busy: Busy) -> Contention:
        request = self._request
        return Contention(
            key=busy.key or self._claim.key,
            task=self._task.name,
            task_id=self._claim.task_id,
            holder=busy.holder,
            remaining=busy.remaining,
            place=busy.place,
            requeues=requeue.requeues(request) if request else 0,
            waited=requeue.waited(request) if request else 0.0,
        )
