"""Locks tasks whose declaration knows nothing of locks: their class stays what it is, and its calls take the key."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from celery import Task, states
from celery.exceptions import TaskRevokedError
from celery.result import EagerResult
from celery.utils.imports import symbol_by_name

from celery_locks.current import current_lease
from celery_locks.errors import LockError
from celery_locks.execution import LEASE, Execution, Skipped
from celery_locks.lease import Lease

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


def adopt(task: Any, planned: Callable[[Any], Plan]) -> None:
    """Have the jobs of a task locked from now on, as it is planned; others of its class are not."""
    if _TAKER not in vars(type(task)):
        _prepare(type(task), planned)
    task._plan = None  # noqa: SLF001 - ours, on a task of a user
    task._plan = planned(task)  # noqa: SLF001


def leave_alone(task: Any) -> None:
    """Lock its jobs no more."""
    vars(task).pop("_plan", None)


def _prepare(cls: Any, planned: Callable[[Any], Plan]) -> None:
    setattr(cls, _TAKER, cls)
    cls.__call__ = _taking(cls, _own_call(cls), planned)
    cls.apply = _applying(cls.apply)
    cls.Request = _request(cls.Request)
    if not hasattr(cls, "lease"):
        cls.lease = property(lease_of)


def _taking(cls: Any, own: Any, planned: Callable[[Any], Plan]) -> Any:
    # It keeps its own module and name: by those Celery tells a `__call__` of its own, which it leaves out.
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - it becomes one
        call = (own or Task.__call__).__get__(self)
        plan = vars(self).get("_plan", _FREE)
        if plan is _FREE or getattr(self, _TAKER) is not cls:
            return call(*args, **kwargs)
        execution = Execution(self, plan or planned(self), args, kwargs)
        # Celery's own __call__ hides a job's request behind a blank one before version 5.5: go past it.
        body = self.run if execution.traced and own is None else call
        return execution.run(lambda: body(*args, **kwargs))

    __call__.goes_on = own  # type: ignore[attr-defined]  # for the class of another task that derives from this one
    return __call__


def _own_call(cls: Any) -> Any:
    """What a class of the user's does when it is called; None when that is Celery's, which may be replaced later."""
    owner = next(each for each in cls.__mro__ if "__call__" in vars(each))
    own = vars(owner)["__call__"]
    return None if owner is Task else getattr(own, "goes_on", own)


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
