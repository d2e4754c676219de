"""What a task's declaration comes to: its options, checked, and how its keys are made."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import weakref
from typing import TYPE_CHECKING, Any

from celery_locks import config
from celery_locks.asking import can_stay
from celery_locks.crowd import NEEDS_CROWDS, crowds
from celery_locks.errors import LockConfigError, LockError
from celery_locks.keys import Arguments, KeyMaker
from celery_locks.locks import Locks
from celery_locks.options import NAMES, Options

if TYPE_CHECKING:
    from celery_locks.guard import Guard
    from celery_locks.stores import Store

#: What marks the class in a task's ancestry that declares the options: whatever comes before it was set by a user.
ROOT = "_declares_lock_options"


_plans: weakref.WeakSet[Plan] = weakref.WeakSet()
#: The store that was last opened to be checked, by app, and what settings said of it: most tasks of an app have one.
_checked: weakref.WeakKeyDictionary[Any, tuple[config.StoreSettings, Store]] = weakref.WeakKeyDictionary()


class Plan:
    """A task's options and keys, made once when the task is bound to its app."""

    def __init__(self, options: Options, keys: KeyMaker, app: Any, where: str) -> None:
        self.options = options
        #: The options that are set for this task.
        self.given: dict[str, Any] = {}
        self.beat = options.beat_every(where)
        self.keys = keys
        #: What each of its claims says besides.
        self.kind = options.slots, options.shared
        self._app = app
        self._guard: Guard | None = None
        _plans.add(self)

    @classmethod
    def of(cls, task: type, app: Any, name: str, given: dict[str, Any]) -> Plan:
        """Check the options that are given for a task. Raises `LockConfigError` saying what to mend."""
        where = f"task {name}"
        settings = config.defaults(app.conf)
        Options.made(settings, where="the settings")
        options = Options.made({**settings, **given}, where=where)
        _check_store(_opened(app, options.store), options, where)
        plan = cls(options, KeyMaker(name, options.key, _arguments(task)), app, where)
        plan.given = given
        return plan

    @staticmethod
    def open_all() -> None:
        """Open the stores of all tasks that name theirs: processes forked from this one then know them as it does."""
        for plan in list(_plans):
            plan.open()

    def open(self) -> None:
        """Open the store of the task, if settings name it and it can be had."""
        with contextlib.suppress(LockError):
            if config.known_store(self._app.conf, self.options.store):
                _ = self.guard

    @functools.cached_property
    def lines_up(self) -> bool:
        """Whether a job that finds its key taken joins its line: of no use where nobody can be called."""
        return self.options.fair and not config.delays_natively(self._app)

    @property
    def guard(self) -> Guard:
        """The guard of the task's store, opened by its first job."""
        if self._guard is None:
            self._guard = Locks.from_app(self._app, self.options.store).guard
        return self._guard


def _opened(app: Any, alias: str | None) -> Store | None:
    """The store of a task, to be checked now: nothing is connected, and a mistake in its URL is an error.

    None for files on this machine, which are left to the first job: they come with a warning, and need none.
    """
    # `current_app` stands for another app at another time.
    app = getattr(app, "_get_current_object", lambda: app)()
    settings = config.known_store(app.conf, alias)
    if settings is None:
        return None
    said, store = _checked.get(app, (None, None))
    if store is None or said != settings:
        store = Locks.opened(app, alias).store
        _checked[app] = settings, store
    return store


def _not_handed_over(where: str, unique: str) -> LockConfigError:
    return LockConfigError(
        f"{where}: lock_unique={unique!r} needs a store whose locks are handed from the sender to the worker. Those of"
        " files, database sessions and ZooKeeper live in one process: set lock_store to Redis, Redlock, etcd or sql+..."
    )


def _check_store(store: Store | None, options: Options, where: str) -> None:
    """Refuse what the store of a task cannot do; without one its locks are files."""
    if options.slots > 1 or options.shared:
        if store is None:
            raise LockConfigError(f"{where}: {NEEDS_CROWDS}, and without lock_store locks are files, which cannot")
        crowds(store, where)
    if options.at_least and store is None:
        raise LockConfigError(f"{where}: lock_at_least needs a store with a ttl: set app.conf.lock_store")
    if store is not None:
        can_stay(store, options.at_least, where)
    if options.unique and (store is None or store.in_connection):
        raise _not_handed_over(where, options.unique)


def declared(task: type) -> dict[str, Any]:
    """The lock options set on a task or its bases, those nearest to the task first."""
    found: dict[str, Any] = {}
    for cls in task.__mro__:
        if ROOT in vars(cls):
            break
        found = {**{name: each for name, each in vars(cls).items() if _is_option(name, each)}, **found}
    return found


def _is_option(name: str, value: object) -> bool:
    """A method of the user's own may be called lock_something, unless it looks like a slip of the pen."""
    if not name.startswith("lock_"):
        return False
    is_method = callable(value) or isinstance(value, (staticmethod, classmethod, property))
    return name in NAMES or not is_method or bool(difflib.get_close_matches(name, NAMES, n=1, cutoff=0.8))


def _arguments(task: type) -> Arguments:
    run = inspect.getattr_static(task, "run")
    is_static = isinstance(run, staticmethod)
    return Arguments.of(run.__func__ if is_static else run, bound=not is_static)
