"""Lets tasks that are not locked be members of a workflow that holds a key.

Celery runs a job by what it has made of its task, its tracer. Such a task gets a second one, for messages of members:
jobs that are none run as if nothing were there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Task, bootsteps, signals
from celery.app.trace import build_tracer, task_has_custom

from celery_locks import adopted, canvas
from celery_locks.annotation import is_declared, planned

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = "celery_locks.worker:MemberRequest"


class Members(bootsteps.StartStopStep):
    """Has the tasks of a worker ready for such messages where its pool is this very process."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Celery makes the tracers anew each time it connects."""
        trace_members(consumer.app, consumer.hostname)


def await_messages(app: Any) -> None:
    """Before anything is forked: have messages of members known to the worker, and to the processes of its pool."""
    for task in _plain(app):
        if task.Request == Task.Request:
            task.Request = REQUEST
        if task_has_custom(task, "__call__"):
            adopted.may_be_member(task, lambda each: planned(type(each), app, each.name))

    def born(sender: Any = None, **_: Any) -> None:
        trace_members(app, sender)

    signals.worker_process_init.connect(born, weak=False, dispatch_uid=f"celery_locks_members_{id(app)}")


def trace_members(app: Any, hostname: str | None) -> None:
    """Give each task its second tracer."""
    for task in _plain(app):
        plain = task.__trace__
        if plain is not None and not hasattr(plain, "of_member") and not task_has_custom(task, "__call__"):
            task.__trace__ = _either(plain, _tracer(task, app, hostname))


def _plain(app: Any) -> list[Any]:
    return [task for task in app.tasks.values() if not is_declared(type(task)) and not hasattr(task, "_plan")]


def _either(plain: Callable[..., Any], of_member: Callable[..., Any]) -> Callable[..., Any]:
    def trace(uuid: Any, args: Any, kwargs: Any, request: Any = None) -> Any:
        if request and canvas.HEADER in request:
            return of_member(uuid, args, kwargs, request)
        return plain(uuid, args, kwargs, request)

    trace.of_member = of_member  # type: ignore[attr-defined]  # so that it is made once
    return trace


def _tracer(task: Any, app: Any, hostname: str | None) -> Any:
    """Celery's own, of a task whose body is one more step."""
    own = vars(task)
    before = own.get("run")

    def run(*args: Any, **kwargs: Any) -> Any:
        return canvas.performed(task, args, kwargs, lambda: task.run(*args, **kwargs), is_locked=False)

    own["run"] = run
    try:
        return build_tracer(task.name, task, app.loader, hostname, app=app)
    finally:
        if before is None:
            del own["run"]
        else:
            own["run"] = before
