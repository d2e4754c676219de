"""Lets tasks that are not locked be members of a workflow that holds a key, in the worker that runs them."""

from __future__ import annotations

from typing import Any

from celery import Task

from celery_locks import canvas
from celery_locks.adopted import is_adopted, own_call
from celery_locks.annotation import is_declared

REQUEST = "celery_locks.worker:MemberRequest"


def see_members(app: Any) -> None:
    """Have the message of a member known by what it says, whatever its task is. Called before a pool is forked."""
    for task in app.tasks.values():
        if is_declared(type(task)) or is_adopted(task):
            continue
        if task.Request == Task.Request:
            task.Request = REQUEST
        if not hasattr(vars(type(task)).get("__call__"), "sees_members"):
            type(task).__call__ = _seeing(own_call(type(task)) or _celerys)


def _seeing(own: Any) -> Any:
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - it becomes one
        request = self.request_stack.top
        if request is None or canvas.HEADER not in vars(request):
            return own(self, *args, **kwargs)
        return canvas.performed(self, args, kwargs, lambda: own(self, *args, **kwargs), is_locked=False)

    # For the class of another task that derives from this one.
    __call__.goes_on = None if own is _celerys else own  # type: ignore[attr-defined]
    __call__.sees_members = True  # type: ignore[attr-defined]
    return __call__


def _celerys(task: Any, *args: Any, **kwargs: Any) -> Any:
    """Celery's own, as its workers have it: a job's own request is not hidden behind that of a call."""
    stack = task.request_stack
    request = stack.top
    if request and not request._protected and len(stack) == 1 and not request.called_directly:  # noqa: SLF001 - Celery's
        request._protected = 1  # noqa: SLF001
        return task.run(*args, **kwargs)
    return Task.__call__(task, *args, **kwargs)
