"""What the declaration of a job's function comes to."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery_locks import plan
from celery_locks.errors import LockConfigError
from celery_locks.rq.house import House, word_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rq.job import Job

    from celery_locks.guard import Guard


class Plan(plan.Plan):
    """That of one function, in one house."""

    @cached_property
    def lines_up(self) -> bool:
        """Whether a job that finds its key taken joins its line."""
        return self.options.fair

    @property
    def guard(self) -> Guard:
        """The guard of its store."""
        house: House = self._app
        return house.locks(self.options.store).guard

    @property
    def store(self) -> str:
        """The word for its store."""
        house: House = self._app
        return word_of(house.settings(self.options.store))


def plan_for(house: House, name: str, function: Callable[..., Any], declared: Mapping[str, Any] | None) -> Plan | None:
    """How the jobs of this function take their keys; None when nobody says that they do.

    Raises `LockConfigError` saying what to mend.
    """
    # A method by hand is given its instance, and as a job is not.
    known = (name, declared is None, inspect.ismethod(function))
    if known not in house.plans:
        house.plans[known] = _planned(house, name, function, declared)
    found: Plan | None = house.plans[known]
    return found


def _planned(house: House, name: str, function: Callable[..., Any], declared: Mapping[str, Any] | None) -> Plan | None:
    chosen = house.patterns.chosen(name)
    if declared is None and (chosen is None or chosen.options is None):
        return None
    given = chosen.over(declared or {}) if chosen else dict(declared or {})
    # A plan is made of a task's class.
    task = type(name, (), {"run": staticmethod(function)})
    try:
        made = Plan.of(task, house, name, given)
    except LockConfigError as error:
        where = f" (see {chosen.where})" if chosen and chosen.options else ""
        raise LockConfigError(f"{error.message}{where}") from None
    if isinstance(made, Plan):
        return made
    raise TypeError(f"{made!r} is no plan of a job")


def name_of(job: Job) -> str:
    """What a job's function is called, in keys and by whoever hears of it."""
    called = job.func_name or ""
    if not job.instance:
        return called
    cls = type(job.instance)
    return f"{cls.__module__}.{cls.__qualname__}.{called}"


def wrapped(function: Any) -> Iterator[Any]:
    """A function, and those that it wraps, from the outermost to the innermost."""
    while function is not None:
        function = getattr(function, "__func__", function)
        yield function
        function = getattr(function, "__wrapped__", None)


def innermost(function: Any) -> Callable[..., Any]:
    """The function that takes the arguments."""
    found: Callable[..., Any] = inspect.unwrap(function)
    return found
