"""Locks tasks whose declaration knows nothing of locks: their class stays what it is, and its calls take the key."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import Task, states
from celery.exceptions import TaskRevokedError
from celery.result import EagerResult
from celery.utils.imports import symbol_by_name

from celery_locks import canvas
from celery_locks.canvas import HEADER
from celery_locks.current import current_lease
from celery_locks.errors import LockError
from celery_locks.execution import LEASE, Execution
from celery_locks.lease import Lease
from celery_locks.refused import Skipped
from celery_locks.unique import Place, Sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.plan import Plan

#: What a locked task's message is to the worker.
REQUEST = "celery_locks.worker:LockedRequest"
#: Which class in a task's ancestry takes the key: of several that could, the nearest to the task.
_TAKER = "_takes_lock"
#: A task without a plan is not locked. One with none was refused, and says so again: it never runs unlocked.
_FREE: Any = object()


def lease_of(task: Any) -> Lease:
    """The lease of the job that runs now. Raises `LockError` outside a job."""
    lease = (task.request.properties or {}).get(LEASE) or _called_by_hand(task)
    if isinstance(lease, Lease):
        return lease
    raise LockError(f"task {task.name} holds no lease here: self.lease works inside a running job")


def applied(task: Any, result: EagerResult[Any]) -> EagerResult[Any]:
    """The result of a job that ran here and now: one that was skipped is revoked."""
    if isinstance(result.result, Skipped):
        return EagerResult(result.id, TaskRevokedError(str(result.result)), states.REVOKED, name=task.name)
    return result


class Call(NamedTuple):
    """One call of a task, and what it goes on to: Celery's own `__call__`, or one of the user's."""

    goes_on: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_celerys: bool


def performed(task: Any, plan: Plan, call: Call) -> Any:
    """The result of a job, done under its lock, and in its place if it was sent with one."""
    if plan.options.unique and (place := Place.of(task, plan)):
        return place.run(lambda place: _carried(task, plan, call, place))
    return _carried(task, plan, call)


def unlocked(task: Any, call: Call) -> Any:
    """The result of a job that takes no lock of its own."""
    return canvas.performed(
        task, call.args, call.kwargs, lambda: call.goes_on(*call.args, **call.kwargs), is_locked=False
    )


def _carried(task: Any, plan: Plan, call: Call, place: Place | None = None) -> Any:
    """Under the key of the workflow that it is a part of, if it is."""
    if HEADER not in vars(task.request_stack.top or task.request):
        return _performed(task, plan, call, place)
    heed = place.heed if place else None
    return canvas.performed(
        task, call.args, call.kwargs, lambda: _performed(task, plan, call, place), is_locked=True, heed=heed
    )


def _performed(task: Any, plan: Plan, call: Call, place: Place | None = None) -> Any:
    execution = Execution(task, plan, call.args, call.kwargs, place.heed if place else None)
    # Celery's own __call__ hides a job's request behind a blank one before version 5.5: go past it.
    body = task.run if execution.traced and call.is_celerys else call.goes_on

    def work() -> Any:
        return body(*call.args, **call.kwargs)

    return execution.run(partial(place.work, work) if place else work)


def sent(
    task: Any,
    plan: Plan,
    publish: Callable[..., Any],
    args: Any,
    kwargs: Any,
    *more: Any,
    **options: Any,
) -> Any:
    """The result of a job that is sent; of the first one, if that has the place this one was to have.

    A task's own `apply_async` may know fewer arguments by their position than Celery's.
    """
    if not plan.options.unique or task.app.conf.task_always_eager:
        return publish(args, kwargs, *more, **options)
    asked, rest = (more[0], more[1:]) if more else (options.pop("task_id", None), ())

    def published(*, task_id: str, headers: dict[str, Any]) -> Any:
        named = {**options, "headers": headers}
        if rest:
            return publish(args, kwargs, task_id, *rest, **named)
        return publish(args, kwargs, task_id=task_id, **named)

    return Sending(task, plan, asked, options).send(args, kwargs, published)


def adopt(task: Any, planned: Callable[[Any], Plan]) -> None:
    """Have the jobs of a task locked from now on, as it is planned; others of its class are not."""
    if _TAKER not in vars(type(task)):
        _prepare(type(task), planned)
    task._plan = None  # noqa: SLF001 - ours, on a task of a user
    task._plan = planned(task)  # noqa: SLF001


def is_adopted(task: Any) -> bool:
    """Whether its calls are seen here, locked or not."""
    return hasattr(type(task), _TAKER)


def leave_alone(task: Any) -> None:
    """Lock its jobs no more."""
    vars(task).pop("_plan", None)


def _prepare(cls: Any, planned: Callable[[Any], Plan]) -> None:
    setattr(cls, _TAKER, cls)
    cls.__call__ = _taking(cls, own_call(cls), planned)
    cls.apply = _applying(cls.apply)
    cls.apply_async = _sending(cls, cls.apply_async, planned)
    cls.Request = _request(cls.Request)
    if not hasattr(cls, "lease"):
        cls.lease = property(lease_of)


def _taking(cls: Any, own: Any, planned: Callable[[Any], Plan]) -> Any:
    # It keeps its own module and name: by those Celery tells a `__call__` of its own, which it leaves out.
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - it becomes one
        call = (own or Task.__call__).__get__(self)
        plan = vars(self).get("_plan", _FREE)
        if getattr(self, _TAKER) is not cls:
            return call(*args, **kwargs)
        if plan is _FREE:
            return unlocked(self, Call(call, args, kwargs, own is None))
        return performed(self, plan or planned(self), Call(call, args, kwargs, own is None))

    __call__.goes_on = own  # type: ignore[attr-defined]  # for the class of another task that derives from this one
    return __call__


def own_call(cls: Any) -> Any:
    """What a class of the user's does when it is called; None when that is Celery's, which may be replaced later."""
    owner = next(each for each in cls.__mro__ if "__call__" in vars(each))
    own = vars(owner)["__call__"]
    return None if owner is Task else getattr(own, "goes_on", own)


def _sending(cls: Any, own: Any, planned: Callable[[Any], Plan]) -> Any:
    def apply_async(self: Any, args: Any = None, kwargs: Any = None, *more: Any, **how: Any) -> Any:
        """Send a job, unless another that is sent already has its place."""
        publish = own.__get__(self)
        plan = vars(self).get("_plan", _FREE)
        if plan is _FREE or getattr(self, _TAKER) is not cls:
            return publish(args, kwargs, *more, **how)
        return sent(self, plan or planned(self), publish, args, kwargs, *more, **how)

    return apply_async


def _applying(own: Any) -> Any:
    def apply(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a job here and now. There is no queue to go back to: it may time out."""
        return applied(self, own(self, *args, **kwargs))

    return apply


def _request(own: Any) -> Any:
    """The class of its messages: ours, which the worker's parts know, before one of the user's own."""
    if own in (Task.Request, REQUEST):
        return REQUEST
    theirs, ours = symbol_by_name(own), symbol_by_name(REQUEST)
    return theirs if issubclass(theirs, ours) else type(f"Locked{theirs.__name__}", (ours, theirs), {})


def _called_by_hand(task: Any) -> Lease | None:
    # Before version 5.5 Celery puts a blank request on top of a direct call.
    with contextlib.suppress(LockError):
        lease = current_lease()
        return lease if lease.claim.task == task.name else None
    return None
