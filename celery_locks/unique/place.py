"""The place in the queue of the job that runs now: taken over from its sender, handed on, or given back."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from celery.exceptions import Reject

from celery_locks import requeue
from celery_locks.errors import LockError, StoreUnavailable
from celery_locks.lease import Lease
from celery_locks.policies import after_outage
from celery_locks.surely import surely
from celery_locks.unique import places

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Busy, Claim
    from celery_locks.plan import Plan

T = TypeVar("T")

logger = logging.getLogger("celery_locks.unique")

_current: ContextVar[Place | None] = ContextVar("celery_locks_place", default=None)


class Place:
    """What one execution does with its place, from before it asks for its key until it has ended."""

    def __init__(self, task: Any, plan: Plan, claim: Claim) -> None:
        self.claim = claim
        self._task, self._plan = task, plan
        self._guard = plan.guard
        self._sent = claim
        self._lease: Lease | None = None
        self._has_begun = False
        self._is_free = False
        self._goes_on = False

    @classmethod
    def of(cls, task: Any, plan: Plan) -> Place | None:
        """The place that the running job was sent with, if any. A call by hand in its body has none."""
        request = task.request_stack.top
        if request is None or request.called_directly or current(task.name, request.id):
            return None
        claim = places.found(request.headers, task.name, request.id, plan.options.ttl)
        return cls(task, plan, claim) if claim else None

    def run(self, run: Callable[[Callable[[], None]], T]) -> T:
        """Run the job, which says when its body is about to begin: when it has its key."""
        before, comes_again = _current.get(), False
        _current.set(self)
        try:
            return run(self._begin)
        except Reject as rejected:
            # What was acknowledged early does not.
            comes_again = bool(rejected.requeue and self._task.acks_late)  # type: ignore[attr-defined]  # its stubs lack it
            raise
        finally:
            _current.set(before)
            surely(self._end, comes_again=comes_again)

    def goes_on(self, stay: float) -> Claim | None:
        """Keep it while the job waits in a queue again; the claim for its message, None when another job has the place.

        Called before the message is sent, so that it is not out while its place hangs on the beats of this process.
        """
        self._goes_on = True
        if self._lease:
            if self._let_go(self._lease, stay):
                return self.claim
            self._is_free = True
        claim = kept(self._plan, self.claim._replace(ttl=stay))
        self.claim, self._is_free = claim or self.claim, claim is None
        return claim

    def stays(self) -> None:
        """The message could not be sent: what becomes of the place is decided when this execution ends."""
        self._goes_on = False

    def _begin(self) -> None:
        self._has_begun = True
        if self._plan.options.unique == "until_start":
            self._leave()
        else:
            self._take_over()

    def _leave(self) -> None:
        """Whoever sends a job after its body has begun must not be told that it is still to begin."""
        try:
            self._guard.store.release(self.claim)
        except StoreUnavailable as outage:
            if self._plan.options.on_outage != "run":
                raise self._gone_back(outage) from outage
            logger.warning("%r stays taken while its job runs: %s", self.claim.key, outage)
        else:
            self._is_free = True

    def _gone_back(self, outage: StoreUnavailable) -> Exception:
        options = self._plan.options
        if options.on_outage == "fail":
            return outage
        return requeue.again(self._task, after_outage(options.countdown), outage, counted=False)

    def _take_over(self) -> None:
        """The same owner asks again, so that nobody can come in between.

        A place that was given back, as when the job's first worker died, is taken in a new name if it is free.
        """
        for claim in (self._sent, _renamed(self._sent)):
            self.claim = claim
            try:
                outcome = self._taken(claim)
            except StoreUnavailable as error:
                self.claim = self._sent
                logger.warning("%r is not renewed while its job runs: %s", claim.key, error)
                return
            if isinstance(outcome, Lease):
                self._lease = outcome
                return
            if outcome.holder:
                break
        self._is_free = True
        logger.info("%s[%s] runs without its place: %r is another's", *self.claim[3:5], self.claim.key)

    def _taken(self, claim: Claim) -> Lease | Busy:
        care, beat, outcome = self._guard.care, self._plan.beat, None
        care.claims(claim, beat)
        try:
            outcome = self._guard.store.acquire(claim)
        finally:
            if not isinstance(outcome, Lease):
                care.left(claim)
        if beat and isinstance(outcome, Lease):
            care.watch(outcome, beat, None)
        return outcome

    def _end(self, *, comes_again: bool) -> None:
        if self._goes_on or (self._is_free and not self._lease):
            return
        if comes_again and self.claim.owner == self._sent.owner:
            if self._lease:
                self._let_go(self._lease, self._plan.options.unique_ttl)
        elif self._has_begun:
            self._give_back()
        else:
            request = self._task.request
            places.give_up(self._plan, self.claim, request.args, request.kwargs)

    def _give_back(self) -> None:
        care, held = self._guard.care, self._lease or self.claim
        care.forget(held)
        try:
            places.give_back(self._guard.store, self.claim)
        finally:
            care.left(held)

    def _let_go(self, lease: Lease, stay: float) -> bool:
        """Beat for it no more, and have it last; False when it is lost."""
        try:
            self._guard.renew(lease, stay)
        except LockError as error:
            logger.warning("%r may be free before its job runs again: %s", lease.key, error)
        care, self._lease = self._guard.care, None
        care.forget(lease)
        care.left(lease)
        return not lease.is_over


def current(task: str, task_id: str | None) -> Place | None:
    """The place of the job that runs here, if it is the one that is asked for."""
    place = _current.get()
    return place if place and task_id and place.claim[3:5] == (task, str(task_id)) else None


def kept(plan: Plan, claim: Claim) -> Claim | None:
    """Have a place last while its job waits; taken anew if it is free. None when another job has it."""
    store = plan.guard.store
    try:
        # A store that knows that an owner is done gives it nothing more.
        for each in (claim, _renamed(claim)):
            if isinstance(store.acquire(each), Lease):
                return each
    except StoreUnavailable as error:
        logger.warning("%r may be free before its job runs: %s", claim.key, error)
        return claim
    return None


def _renamed(claim: Claim) -> Claim:
    return places.claimed(claim.task or "", claim.task_id or "", claim.key, claim.ttl)
