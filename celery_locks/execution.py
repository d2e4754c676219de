"""One execution of a locked job: what it claims, what it does under its lease, what becomes of it without one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from celery import signals as celery_signals
from celery import states
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, Retry, TaskRevokedError

from celery_locks import closing, events, pooled, requeue, signals
from celery_locks.current import apart, carrying
from celery_locks.errors import LockTimeout, StoreUnavailable
from celery_locks.interrupt import Interruption, await_end, kill
from celery_locks.lease import Claim, Lease, new_owner
from celery_locks.owner import Owner
from celery_locks.policies import NOTHING, Contention, Fail, Requeue, Skip, after_outage, countdown, decide, is_patient
from celery_locks.ticket import Stance, Ticket, marked, ticket_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.guard import Refusal
    from celery_locks.lease import Busy
    from celery_locks.plan import Plan

T = TypeVar("T")

#: Where a request keeps its job's lease, among its properties.
LEASE = "lock_lease"
#: Why a job is revoked whose time to run is over, in Celery's own word.
EXPIRED = "expired"


def _clean(request: Any) -> None:
    """Take what counts a job's waiting out of its request, for good: what a job is given is what was sent."""
    request.headers = requeue.without_counters(request.headers) or None
    for name in requeue.OURS:
        vars(request).pop(name, None)


class Skipped(Ignore):
    """Ends a job that its policy does not want to run."""


class Execution:
    """One try of one job. Its state lives here and on the request, never on the task, which all jobs share."""

    def __init__(
        self,
        task: Any,
        plan: Plan,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        heed: Callable[[], object] | None = None,
    ) -> None:
        self._task = task
        #: Raises when the job has ended before, and this is a copy of its message. Asked before anything is said of it.
        self._heed = heed
        self._plan = plan
        self._options = plan.options
        request = task.request_stack.top
        # The worker puts a job's request on top before it runs it. A call by hand, also one inside a job, has none.
        traced = request is not None and not request.called_directly and LEASE not in (request.properties or {})
        self.traced = traced
        self._request = request if traced else None
        self._id: str | None = request.id if traced else None
        self._queued = traced and not request.is_eager
        owner = new_owner(f"{task.name}[{self._id}]" if self._id else task.name)
        self._had, keys = apart(plan.keys(args, kwargs), plan)
        kind = (*plan.kind, keys[1:], self._options.at_least)
        self._claim = Claim(keys[0], owner, self._options.ttl, task.name, self._id, self._ticket(keys, owner), *kind)
        self._interruption = Interruption()
        self._started = time.monotonic()

    @property
    def owner(self) -> str:
        """The name of this execution."""
        return self._claim.owner

    def run(self, body: Callable[[], Any]) -> Any:
        """The job's result; or the exception that tells Celery where it goes instead."""
        if self._had:
            return self._work(self._had, body)
        if not (self._queued and self._options.wait and closing.mine):
            return self._run(body)
        place = pooled.place()
        closing.mine.enter(self._claim.owner, place)
        try:
            return self._run(body)
        finally:
            closing.mine.leave(self._claim.owner, place)

    def _run(self, body: Callable[[], Any]) -> Any:
        try:
            return self._plan.guard.run(
                self._claim,
                lambda lease: self._work(lease, body),
                lambda refusal: self._refused(refusal, body),
                wait=self._options.wait,
                beat=self._plan.beat,
                on_lost=self._on_lost(),
                strict=self._options.on_lost != "flag",
                in_line=self._options.fair,
            )
        finally:
            await_end()

    def _ticket(self, keys: tuple[str, ...], owner: str) -> Ticket | None:
        """A job that can go back to its queue waits in its slot only when it is the next, and else away from here."""
        options = self._options
        if not (self._queued and self._plan.lines_up):
            return None
        place = requeue.place(self._request.headers or {}) if self._request else None
        stance = Stance.WAITS_IF_NEXT if options.wait else Stance.GOES
        waker = self._plan.guard.waker
        home = waker.home() if waker and options.wait else ""
        if place and place[0] in keys:
            return Ticket(marked(place[1], options.slots, shared=options.shared), stance, home)
        if options.on_contention in ("skip", "fail") or isinstance(options.on_contention, (Skip, Fail)):
            return None
        return Ticket(ticket_of(owner, options.slots, shared=options.shared), stance, home)

    def _work(self, lease: Lease, body: Callable[[], Any]) -> Any:
        if self._options.on_lost != "flag":
            self._interruption.heeds(lease)
        if self._request is None:
            return self._by_hand(lease, body)
        if self._options.wait and closing.mine:
            closing.mine.leave(self._claim.owner, pooled.place())
        request = self._request
        sent = request.properties
        _clean(request)
        request.properties = {**(sent or {}), LEASE: lease}
        try:
            with self._interruption:
                return body()
        finally:
            request.properties = sent

    def _by_hand(self, lease: Lease, body: Callable[[], Any]) -> Any:
        request = self._task.request
        requests, seen = self._task.request_stack, Context({**vars(request), "_children": request.children})
        seen.properties = {**(request.properties or {}), LEASE: lease}
        try:
            requests.push(seen)
            with self._interruption:
                return body()
        finally:
            if requests.top is seen:
                requests.pop()

    def _on_lost(self) -> Callable[[Lease], None] | None:
        match self._options.on_lost:
            case "kill" if pooled.is_pooled():
                return kill
            case "flag":
                return None
        return self._interruption.fire

    def _refused(self, refusal: Refusal, body: Callable[[], Any]) -> Any:
        if isinstance(refusal, StoreUnavailable):
            return self._without_store(refusal, body)
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
        if self._meets_itself(contention):
            # No policy is asked: were this copy dropped and the other died, the job would be lost.
            raise self._requeued(contention, options.countdown, ticket, counted=False)
        if self._heed:
            self._heed()
        decision = decide(options.on_contention, contention, most=options.max_requeues, longest=options.max_wait)
        match decision:
            case Requeue(delay) if self._queued:
                raise self._requeued(contention, options.countdown if delay is None else delay, ticket)
            case Skip(result, reason) if result is not NOTHING or self._id:
                self._plan.guard.leave_line(contention.key, ticket)
                return self._skipped(contention, result, reason)
        raise self._timeout(contention, getattr(decision, "reason", None))

    def _meets_itself(self, contention: Contention) -> bool:
        """Whether a job that is sent once finds its key taken by itself: its message came twice, and the other runs."""
        # A key that is to stay taken may be so of an earlier try.
        is_once = self._heed is not None and not self._options.at_least
        return is_once and Owner.of(contention.holder or "")[1:3] == (self._task.name, self._id)

    def _is_copy(self, contention: Contention) -> bool:
        """Whether what its job has come to is told by another copy of its message."""
        return self._meets_itself(contention)

    def _without_store(self, outage: StoreUnavailable, body: Callable[[], Any]) -> Any:
        if self._options.on_outage == "run":
            lease = Lease.unlocked(self._claim)
            with carrying(lease):
                return self._work(lease, body)
        if self._options.on_outage == "requeue" and self._queued:
            delay = after_outage(self._options.countdown)
            raise requeue.again(self._task, delay, outage, counted=False)
        raise outage

    def _called_back(self, contention: Contention, ticket: str | None) -> Exception:
        """Its worker is about to end, and it waits on elsewhere."""
        if closing.mine and self._id:
            closing.mine.goes(self._id, pooled.place())
            if closing.mine.how == closing.AT_ONCE and self._task.acks_late:
                # The broker delivers what is not acknowledged once more: a message of our own would make it two.
                return Reject(f"{contention}, and its worker ends", requeue=True)
        return self._requeued(contention, self._options.countdown if ticket else 0.0, ticket, counted=False)

    def _requeued(
        self, contention: Contention, asked: float | str, ticket: str | None, *, counted: bool = True
    ) -> Exception:
        is_copy = self._is_copy(contention)
        if requeue.expired(self._task):
            return Skipped(EXPIRED) if is_copy else self._revoked(EXPIRED)
        longest = self._options.max_wait
        delay = countdown(asked, contention, longest=longest, in_line=ticket is not None)
        place = requeue.Place(ticket, patient=is_patient(asked, longest), comes=self._comes()) if ticket else None
        text = f"{contention}; tried again in {delay:.1f} s at the latest"
        reason = LockTimeout(text, contention.key, contention.holder)
        exception = requeue.again(self._task, delay, reason, counted=counted, in_line=place, is_copy=is_copy)
        signals.requeued.send(self._event(events.Requeued, contention, delay, contention.requeues + counted))
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
            task_id=self._id,
            holder=busy.holder,
            remaining=busy.remaining,
            place=busy.place,
            requeues=requeue.requeues(request) if request else 0,
            waited=requeue.waited(request) if request else 0.0,
        )
