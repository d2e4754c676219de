"""Puts what `app.conf.lock_tasks` says on tasks as they are bound, where Celery applies its `task_annotations`."""

from __future__ import annotations

import difflib
import logging
import weakref
from functools import cached_property, partial
from typing import IO, TYPE_CHECKING, Any

import click
from celery import signals
from celery.app.annotations import prepare, resolve_all
from celery.utils.imports import symbol_by_name

from celery_locks.adopted import adopt, leave_alone
from celery_locks.errors import LockConfigError
from celery_locks.patterns import Patterns
from celery_locks.plan import ROOT, Plan, declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.patterns import Chosen

logger = logging.getLogger("celery_locks.worker")

_installed: weakref.WeakSet[Any] = weakref.WeakSet()


class Refused(LockConfigError, click.ClickException):  # type: ignore[misc, override]  # its message is never set
    """A declaration that cannot be. Celery's command line shows it as one line, without a traceback, and stops."""

    def __init__(self, message: str, key: str | None = None, holder: str | None = None) -> None:
        Exception.__init__(self, message, key, holder)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it for the command line."""
        click.echo(f"Error: {self}", file=file, err=True)


class Annotations:
    """The annotations of an app, as Celery reads them, with ours before all others: it sees each class of tasks.

    Nothing of the app's configuration is read before Celery would.
    """

    def __init__(self, app: Any) -> None:
        self._app = weakref.ref(app)

    def __iter__(self) -> Iterator[Any]:
        yield self
        yield from self.others

    @cached_property
    def others(self) -> Any:
        """What `task_annotations` says."""
        app = self._app()
        return prepare(app.conf.task_annotations) if app else ()

    def annotate_any(self) -> None:
        """Nothing for all tasks alike."""

    def annotate(self, task: Any) -> None:
        """Have this class tell of each task that is bound: a class may have several, whose names it does not know."""
        if not is_declared(task):
            before = task.on_bound.__func__

            def on_bound(cls: Any, app: Any) -> None:
                before(cls, app)
                bound(cls, app)

            task.on_bound = classmethod(on_bound)


def install(app: Any) -> None:
    """Have an app lock what `app.conf.lock_tasks` names, and its workers do their part for locked tasks.

    The first `LockedTask` of an app does the same. It may be called at any time, before the app is configured or after
    its tasks are made, and again. What is set in a process whose worker has started is not seen there.
    """
    app = getattr(app, "_get_current_object", lambda: app)()
    attend(app)
    lock_bound(app)


def attend(app: Any) -> bool:
    """Have Celery tell of each task that is bound from now on; False when it does already."""
    if app in _installed:
        return False
    _installed.add(app)
    app.steps["consumer"].add("celery_locks.worker:Line")
    app.steps["worker"].update(("celery_locks.worker:Keeping", "celery_locks.worker:Ending"))
    # An app that is made of a pickled one is then as that was.
    app.fixups = {*app.fixups, f"{__name__}:attend"}
    app.annotations = Annotations(app)
    signals.worker_process_init.connect(
        partial(_born, weakref.ref(app)), weak=False, dispatch_uid=f"celery_locks_{id(app)}"
    )
    return True


def _born(app: Callable[[], Any], **_: Any) -> None:
    """In a process of a pool: where that is spawned it knows nothing of what its parent has made of its tasks."""
    if known := app():
        symbol_by_name("celery_locks.worker.members:see_members")(known)


def lock_bound(app: Any) -> None:
    """Lock those tasks that were bound before anybody looked."""
    for task in list(app._tasks.values()):  # noqa: SLF001 - `tasks` would finalize it
        if not is_declared(type(task)):
            lock(task, app)


def bound(cls: Any, app: Any) -> None:
    """Lock the tasks of a class that is bound, as far as `lock_tasks` names them."""
    if app in _installed:
        for task in tasks_of(cls, app):
            lock(task, app)


def tasks_of(cls: Any, app: Any) -> list[Any]:
    """The tasks of exactly this class: mostly one, of the name that it has."""
    known = app._tasks  # noqa: SLF001 - `tasks` would finalize it
    named = known.get(cls.name)
    return [named] if type(named) is cls else [task for task in list(known.values()) if type(task) is cls]


def is_declared(cls: type) -> bool:
    """Whether a task is a `LockedTask`."""
    return bool(getattr(cls, ROOT, False))


def is_celerys_own(cls: type, name: str) -> bool:
    """Celery's built-in tasks become locked ones when an app is made with `task_cls=LockedTask`: leave them alone."""
    return name.startswith("celery.") and cls.__module__.startswith("celery.")


def lock(task: Any, app: Any) -> None:
    """Lock a task that is bound, if `lock_tasks` says so."""
    cls: Any = type(task)

    def plan_of(task: Any) -> Plan:
        return planned(cls, app, task.name)

    try:
        chosen = _chosen(cls, app, task.name)
    except LockConfigError:
        # Nobody knows whether it is to be locked: it says so at each call.
        adopt(task, plan_of)
        raise
    if is_declared(cls):
        plan = cls._plan
        if plan is None or plan.given != _given(cls, app, chosen):
            cls._plan = plan_of(task)
    elif chosen and chosen.options is not None:
        adopt(task, plan_of)
    else:
        leave_alone(task)


def lock_all(app: Any) -> None:
    """Before a worker begins: see what was set or made since, and warn of what matches nothing."""
    names = []
    for task in list(app.tasks.values()):
        if not is_celerys_own(type(task), task.name):
            names.append(task.name)
            lock(task, app)
    for pattern in Patterns.of(app.conf).unmatched(names):
        close = difflib.get_close_matches(pattern, names, n=1)
        hint = f": did you mean {close[0]!r}?" if close else ": its name, or the modules this worker imports, are wrong"
        logger.warning("lock_tasks[%r] matches no task of this worker, and locks nothing%s", pattern, hint)


def planned(cls: Any, app: Any, name: str) -> Plan:
    """What the declaration of a task comes to. Raises `Refused` saying what to mend."""
    chosen = None
    try:
        chosen = _chosen(cls, app, name)
        return Plan.of(cls, app, name, _given(cls, app, chosen))
    except LockConfigError as error:
        raise Refused(f"{error.message} (see {chosen.where})" if chosen and chosen.options else error.message) from None


def _chosen(cls: Any, app: Any, name: str) -> Chosen | None:
    chosen = Patterns.of(app.conf).chosen(name)
    if chosen is None or not is_celerys_own(cls, name):
        return chosen
    if chosen.is_exact and chosen.options is not None:
        raise Refused(f"{chosen.where} names a task of Celery's own, which are not locked: remove it")
    return None


def _given(cls: Any, app: Any, chosen: Chosen | None) -> dict[str, Any]:
    """Its lock options, by what is nearest to it: `task_annotations` were written for tasks alone."""
    own = declared(cls) if is_declared(cls) else {}
    return {**chosen.over(own), **_annotated(cls, app)} if chosen else own


def _annotated(cls: Any, app: Any) -> dict[str, Any]:
    said: Any = resolve_all(getattr(app.annotations, "others", ()), cls)
    return {name: value for each in said for name, value in each.items() if name.startswith("lock_")}
