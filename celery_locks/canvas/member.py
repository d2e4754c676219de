"""One member of a workflow: it takes the key over, runs, and hands it on, or gives it back."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import Ignore, Reject, Retry

from celery_locks import requeue
from celery_locks.canvas import lingering, together
from celery_locks.canvas.awaiting import awaits
from celery_locks.canvas.carried import ERROR, found
from celery_locks.canvas.handing import free, hand_over
from celery_locks.canvas.marking import mark
from celery_locks.canvas.plans import plan_of
from celery_locks.current import carrying, sharing
from celery_locks.errors import LockTimeout, StoreUnavailable
from celery_locks.execution import LEASE, Execution
from celery_locks.lease import Busy, Lease
from celery_locks.surely import surely
from celery_locks.unique.stay import stay

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.canvas.carried import Carried
    from celery_locks.guard import Refusal

#: A job that is tried again may come before the try that sent it has handed on the key. Seconds until it asks again.
HANDING = 0.5

_running: ContextVar[Member | None] = ContextVar("celery_locks_member", default=None)


def performed(  # noqa: PLR0913 - a call that says how, by name
    task: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    body: Callable[[], Any],
    *,
    is_locked: bool,
    heed: Callable[[], object] | None = None,
) -> Any:
    """The result of a member, done under the key of its workflow; `is_locked`: its body takes a lock of its own.

    `heed`: raises when this is a copy of the message of a job that has ended.
    """
    request = task.request_stack.top
    carried = found(vars(request)) if request and not request.called_directly else None
    if carried is None or _is_inside(task, request):
        return body()
    vars(task).setdefault("on_replace", _replacing(task))
    kind = Together if carried.together else Member
    return kind(task, carried, args, kwargs, is_locked=is_locked, heed=heed).run(body)


class Member(Execution):
    """One try of a member that runs alone."""

    def __init__(  # noqa: PLR0913 - its call, and what is known of it, by name
        self,
        task: Any,
        carried: Carried,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        is_locked: bool,
        heed: Callable[[], object] | None,
    ) -> None:
        super().__init__(task, plan_of(task.app, carried), args, kwargs, heed)
        self.task = task
        self._carried = carried
        self._is_locked = is_locked
        self._claim = self._claim._replace(after=carried.mine)
        self._lease: Lease | None = None
        self._is_replaced = False

    def run(self, body: Callable[[], Any]) -> Any:
        """The job's result; or the exception that tells Celery where it goes instead."""
        try:
            return super().run(body)
        except Exception:
            lingering.carry(self._id)
            raise

    def replaced(self, canvas: Any) -> None:
        """Another canvas is about to be sent in its place."""
        mark(canvas, self._carried)
        if self._lease:
            self._is_replaced = True
            surely(self._hand_on, self._lease, self._carried.step)

    def has(self, request: Any) -> bool:
        """Whether it runs for this message."""
        return self._request is request

    def _work(self, lease: Lease, body: Callable[[], Any]) -> Any:
        self._lease, before = lease, _running.get()
        _running.set(self)
        try:
            with sharing(lease, self._plan.guard.store):
                result = self._done(lease, body)
        except BaseException as error:
            surely(self._stopped, lease, error)
            raise
        finally:
            _running.set(before)
        surely(self._ended, lease)
        return result

    def _done(self, lease: Lease, body: Callable[[], Any]) -> Any:
        if not self._is_locked:
            return super()._work(lease, body)
        # What the message says of its waiting is for the job's own lock, which is taken next.
        if self._options.on_lost != "flag":
            self._interruption.heeds(lease)
        with self._interruption:
            return body()

    def _ended(self, lease: Lease) -> None:
        """It went well: the next may start from here on. The guard gives back what has nobody to go to."""
        if self._carried.next is not None:
            self._hand_on(lease, self._carried.next)

    def _stopped(self, lease: Lease, error: BaseException) -> None:
        if isinstance(error, Retry):
            self._hand_on(lease, self._carried.step, error.when)
        elif isinstance(error, Reject):
            # What was acknowledged early does not come again.
            if error.requeue and self.task.acks_late:  # type: ignore[attr-defined]  # its stubs lack it
                self._hand_on(lease, self._carried.step, 0.0)
        elif self._is_replaced:
            if not isinstance(error, Ignore):
                free(self._plan.guard, self._carried.keys, self._carried.mine)
        elif isinstance(error, Exception) and not isinstance(error, Ignore):
            self._failed(lease)

    def _failed(self, lease: Lease) -> None:
        """Those errbacks that are sent have the key next; those that Celery calls here and now, until they are done."""
        called, sent = lingering.errbacks(self.task, self._request)
        if called:
            after = self._carried.named(ERROR) if sent else None
            lingering.linger(self._plan, lease, self._claim, after, self._carried.travel)
        elif sent:
            self._hand_on(lease, ERROR)

    def _failed_groups(self) -> list[str]:
        """Those of whom an errback has the key next: all their tasks have ended, and none of them hands it on."""
        # Else Celery also calls it for a task of the group while others run.
        if self.task.app.conf.get("task_allow_error_cb_on_chord_header"):
            return []
        return [self._carried.named(step) for step in self._carried.groups]

    def _hand_on(self, lease: Lease, step: str, due: Any = None) -> None:
        hand_over(self._plan.guard, lease, self._carried.named(step), self._stay(due))

    def _stay(self, due: Any) -> float:
        """So long its lease lasts while a message is on its way. One that is due is its own, and expires as it did."""
        expires = self._request.expires if self._request and due is not None else None
        return stay(self.task, self._carried.travel, {"eta": due, "expires": expires})

    def _has_ended(self) -> bool:
        """Whether its job has a result, which its waiting is not to replace. A backend that cannot say has none."""
        with contextlib.suppress(Exception):
            return self.task.backend.get_state(self._id) in states.READY_STATES
        return False

    def _refused(self, refusal: Refusal, body: Callable[[], Any]) -> Any:
        request = self._request
        if isinstance(refusal, Busy) and refusal.holder in self._failed_groups():
            self._plan.guard.leave_line(refusal.key or self._carried.key, refusal.ticket)
            self._claim = self._claim._replace(after=refusal.holder)
            self._carried = self._carried._replace(groups=())
            return self._run(body)
        if isinstance(refusal, Busy) and request and request.retries and _is_ours(refusal, self._claim.owner):
            # Not in line: it is not to be given back, but handed over.
            self._plan.guard.leave_line(refusal.key or self._carried.key, refusal.ticket)
            reason = LockTimeout(f"{self._claim.shown} is held by the try before", self._carried.key, refusal.holder)
            raise requeue.again(self.task, HANDING, reason, counted=False)
        return super()._refused(refusal, body)


class Together(Member):
    """One try of a member that others run beside, under one lease: none of them gives it back."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._claim = self._claim._replace(owner=self._carried.mine, ticket=None, after="", in_common=True)

    def _run(self, body: Callable[[], Any]) -> Any:
        refusal: Refusal
        try:
            lease = together.entered(self._plan, self._claim, self._on_lost())
        except StoreUnavailable as outage:
            refusal = outage
        else:
            if isinstance(lease, Lease):
                with carrying(lease):
                    return self._work(lease, body)
            refusal = lease
        return self._refused(refusal, body)

    def _ended(self, lease: Lease) -> None:
        self._hand_on(lease, self._carried.step)
        if self._options.on_lost != "flag":
            lease.ensure_held()

    def _stopped(self, lease: Lease, error: BaseException) -> None:
        self._hand_on(lease, self._carried.step, error.when if isinstance(error, Retry) else None)

    def _hand_on(self, lease: Lease, step: str, due: Any = None) -> None:  # noqa: ARG002 - it stays where it is
        # What comes behind the group does not expire with one of its tasks.
        stay = max(self._carried.travel, self._stay(due))
        guard, ttl = self._plan.guard, lease.claim.ttl
        together.left(guard, lease, stay)
        if (wait := stay - self._carried.travel) > 0 and lease.held():
            awaits(guard, lease, wait, max(self._carried.travel, ttl), self._plan.beat or ttl)

    def replaced(self, canvas: Any) -> None:
        """Another canvas is about to be sent in its place, to run beside the others."""
        mark(canvas, self._carried)


def _is_inside(task: Any, request: Any) -> bool:
    """Whether its body calls it."""
    now = _running.get()
    return LEASE in (request.properties or {}) or bool(now and now.task is task and now.has(request))


def _is_ours(busy: Busy, owner: str) -> bool:
    """Whether another try of the same job has the key."""
    return (busy.holder or "").startswith(owner.partition("]@")[0] + "]@")


def _replacing(task: Any) -> Callable[[Any], Any]:
    def on_replace(canvas: Any) -> Any:
        """Have the canvas that comes in a member's place go on with its key."""
        now = _running.get()
        if now and now.task is task:
            now.replaced(canvas)
        return type(task).on_replace(task, canvas)

    return on_replace
