"""What is examined: an app with its locked tasks, and a store with the tasks that use it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.stores.operations import Clocked, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery_locks.options import Options
    from celery_locks.plan import Plan
    from celery_locks.stores import Store
    from celery_locks.stores.operations import Server


class Locked(NamedTuple):
    """A task that is locked, and how."""

    task: Any
    plan: Plan

    @property
    def name(self) -> str:
        """The task's."""
        return str(self.task.name)

    @property
    def options(self) -> Options:
        """Those of its lock."""
        return self.plan.options

    @property
    def time_limit(self) -> float | None:
        """The seconds after which its process is ended."""
        limit = self.task.time_limit or self.task.app.conf.task_time_limit
        return float(limit) if limit else None


class Ahead(NamedTuple):
    """By how many seconds a clock is ahead of another, at least and at most: it is read over a way that takes time."""

    least: float
    most: float

    @classmethod
    def read(cls, there: float, before: float, after: float) -> Ahead:
        """Of one that said this between two looks at the other."""
        return cls(there - after, there - before)

    def beside(self, other: Ahead) -> Ahead:
        """Of this clock beside another that was compared with the same one."""
        return Ahead(self.least - other.most, self.most - other.least)

    def is_beyond(self, seconds: float) -> bool:
        """Whether it differs by more than this, however long the way took."""
        return self.least > seconds or self.most < -seconds

    @property
    def said(self) -> str:
        """In words."""
        middle = (self.least + self.most) / 2
        return f"{abs(middle):.1f} s {'ahead of' if middle > 0 else 'behind'}"


@dataclass(frozen=True)
class AppCase:
    """An app. `waiting`: how many jobs wait in the lines of its stores now.

    `clocks`: those of the workers, beside this machine's, where no store has one that they are compared with.
    """

    app: Any
    locked: list[Locked]
    waiting: int = 0
    clocks: Mapping[str, Ahead] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The app's."""
        return str(self.app.main or "the app")

    @property
    def transport(self) -> str:
        """What kind of broker it has."""
        with self.app.connection_for_read() as connection:
            return str(connection.transport_cls)


@dataclass(frozen=True)
class StoreCase:
    """A store, by the name that messages give it. `app`: None for whoever knows no more than a URL.

    `clocks`: those of the workers, beside this machine's.
    """

    name: str
    store: Store
    locked: list[Locked] = field(default_factory=list)
    app: Any = None
    clocks: Mapping[str, Ahead] = field(default_factory=dict)
    #: This machine's clock, and one that only counts.
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic

    @cached_property
    def servers(self) -> list[Server]:
        """Its Redis servers, each asked once."""
        return self.store.servers() if isinstance(self.store, Served) else []

    @property
    def is_majority(self) -> bool:
        """Whether its servers vote: then none of their clocks is the one that counts."""
        return bool(self.servers) and not isinstance(self.store, Clocked)


def locked_tasks(app: Any) -> list[Locked]:
    """The tasks of an app that are locked, by name. What it imports by itself must have been imported."""
    found = ((task, getattr(task, "_plan", None)) for task in app.tasks.values())
    return sorted((Locked(task, plan) for task, plan in found if plan), key=lambda each: each.name)
