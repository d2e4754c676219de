"""The place in the queue of the job that runs now: taken over from its sender, handed on, or given back."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from celery.exceptions import Reject

from celery_locks import requeue
from celery_locks.errors import LockError, StoreUnavailable
from celery_locks.lease import Busy, Lease
from celery_locks.policies import after_outage
from celery_locks.surely import surely
from celery_locks.unique import ended, places
from celery_locks.unique.places import Stand

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Claim
    from celery_locks.plan import Plan

T = TypeVar("T")

logger = logging.getLogger("celery_locks.unique")

_current: ContextVar[Place | None] = ContextVar("celery_locks_place", default=None)


class Place:
    """What one execution does with its place, from before it asks for its key until it has ended.

    A job may have been sent without one, because another had it. Then its claim has no key.
    """

    def __init__(self, task: Any, plan: Plan, sent: Stand, request: Any) -> None:
        self.claim, self._fence, self.send = sent
        self._task, self._plan, self._request = task, plan, request
        self._guard = plan.guard
        self._owner = self.claim.owner
        self._lease: Lease | None = None
        self._is_free = not self.claim.key
        self._has_begun = self._goes_on = self._is_over = False

    @classmethod
    def of(cls, task: Any, plan: Plan) -> Place | None:
        """The place that the running job was sent with, if any. A call by hand in its body has none."""
        request = task.request_stack.top
        if request is None or request.called_directly or current(task.name, request.id):
            return None
        sent = places.found(request.headers, task.name, request.id, plan.options.ttl)
        return cls(task, plan, sent, request) if sent else None

    def run(self, job: Callable[[Place], T]) -> T:
        """Run the job, which gives us its body when it has its key."""
        before, error = _current.get(), None
        _current.set(self)
        try:
            return job(self)
        except BaseException as raised:
            error = ended.heard(raised)
            raise
        finally:
            _current.set(before)
            surely(self._end, error)

    def goes_on(self, stay: float) -> Stand:
        """Keep it while the job waits in a queue again; what its message says of it.

        Called before the message is sent, so that it is not out while its place hangs on the beats of this process.
        """
        self._goes_on = True
        if self._lease:
            if self._let_go(self._lease, stay):
                return self._stand(stay)
            self._is_free = True
        kept = places.kept(self._plan, self._stand(stay), self._is_copy)
        self._is_free = not kept.claim.key
        if kept.claim.key:
            self.claim, self._fence = kept.claim, kept.fence
        return kept

    def is_sent_again(self) -> None:
        """The job is about to be published in the same name: this execution is not its end."""
        self._goes_on = True

    def stays(self) -> None:
        """The message could not be sent: what becomes of the place is decided when this execution ends."""
        self._goes_on = False

    def _stand(self, stay: float) -> Stand:
        return Stand(self.claim._replace(ttl=stay), None if self._is_free else self._fence, self.send)

    def _is_copy(self) -> bool:
        """Whether the job has begun elsewhere: who is sent from then on must not be told that this one is to begin."""
        return not self._has_begun and (ended.is_marked(self._guard.store, self.send) or self._runs_elsewhere())

    def _runs_elsewhere(self) -> bool:
        # While it is published again, its request lies under another.
        return places.is_running(self._plan, self.claim, self._request.args, self._request.kwargs)

    def work(self, body: Callable[[], T]) -> T:
        """Do the body, and what must be done before another copy of the message can have the key."""
        self._begin()
        try:
            result = body()
        except Exception as error:
            self._over(error)
            raise
        self._over(None)
        return result

    def heed(self) -> None:
        """A copy of a message whose job has ended does not begin, and says nothing: it is no job any more."""
        try:
            has_ended = ended.is_marked(self._guard.store, self.send)
        except StoreUnavailable as outage:
            if self._plan.options.on_outage != "run":
                raise self._gone_back(outage) from outage
            logger.warning("%s[%s] may have run before: %s", *self.claim[3:5], outage)
            return
        if has_ended:
            raise ended.told(self.send, self.claim)

    def _begin(self) -> None:
        if self._plan.options.unique == "until_start":
            self.heed()
            self._has_begun = True
            self._leave()
        else:
            self._take_over()
            self._has_begun = True

    def _leave(self) -> None:
        """Whoever sends a job after its body has begun must not be told that it is still to begin."""
        if self._is_free:
            return
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
        """The same owner asks again. One that has the fence it was given was not given back: its job has not ended."""
        if not self.claim.key:
            self.heed()
            return
        fence, outcome = self._fence, None
        try:
            outcome = self._taken(self.claim)
        except StoreUnavailable as error:
            logger.warning("%r is not renewed while its job runs: %s", self.claim.key, error)
        # In another name it says nothing: a copy that was sent in the first may have ended.
        was_kept = isinstance(outcome, Lease) and outcome.fence == fence and self._owner == self.send
        if not was_kept:
            self.heed()
        if isinstance(outcome, Busy):
            self._take_anew(outcome)

    def _take_anew(self, busy: Busy) -> None:
        """A place that was given back, as when the job's first worker died, is taken in a new name if it is free."""
        key = self.claim.key
        try:
            if not busy.holder:
                self.claim = places.renamed(self.claim)
                self._taken(self.claim)
        except StoreUnavailable as error:
            logger.warning("%r is not taken while its job runs: %s", key, error)
            return
        if not self._lease:
            self._is_free = True
            logger.info("%s[%s] runs without its place: %r is another's", *self.claim[3:5], key)

    def _taken(self, claim: Claim) -> Lease | Busy:
        care, beat, outcome = self._guard.care, self._plan.beat, None
        care.claims(claim, beat)
        try:
            outcome = self._guard.store.acquire(claim)
        finally:
            if not isinstance(outcome, Lease):
                care.left(claim)
        if isinstance(outcome, Lease):
            self._lease, self._fence = outcome, outcome.fence
            if beat:
                care.watch(outcome, beat, None)
        return outcome

    def _over(self, error: BaseException | None) -> None:
        if not self._goes_on and ended.is_final(self._task, error):
            surely(self._retire)

    def _retire(self) -> None:
        """The job has ended for good. Said before its place is free."""
        ended.mark(self._guard.store, self.send, self.claim, self._plan.options.unique_ttl)
        self._give_back()
        self._is_over = True

    def _end(self, error: BaseException | None) -> None:
        if self._goes_on or self._is_over:
            return
        # What was acknowledged early does not.
        comes_again = isinstance(error, Reject) and error.requeue and self._task.acks_late  # type: ignore[attr-defined]
        if comes_again and self.claim.owner == self._owner:
            if self._lease:
                self._let_go(self._lease, self._plan.options.unique_ttl)
        elif isinstance(error, ended.Ended):
            self._give_back()
        # A key that is to stay taken may be so of an earlier try of this very job.
        elif self._has_begun or self._plan.options.at_least or not self._runs_elsewhere():
            (self._retire if ended.is_final(self._task, error) else self._give_back)()

    def _give_back(self) -> None:
        if self._is_free and not self._lease:
            return
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
