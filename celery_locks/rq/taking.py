"""Takes the key of a job's function around its call."""

from __future__ import annotations

import asyncio
import inspect
import os
from typing import TYPE_CHECKING, Any

from rq import get_current_job

from celery_locks.errors import LockConfigError
from celery_locks.rq.execution import Execution, is_running
from celery_locks.rq.house import House
from celery_locks.rq.plans import innermost, name_of, plan_for, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rq.job import Job

    from celery_locks.rq.plans import Plan


def performed(job: Job, plan: Plan, body: Callable[[], Any]) -> Any:
    """The result of a job, done under its lock; or what tells its worker that it has not ended."""
    _belong()
    return Execution(plan, name_of(job), job, tuple(job.args), dict(job.kwargs)).run(body)


def called(
    taker: Any, function: Callable[..., Any], declared: Mapping[str, Any], args: tuple[Any, ...], kwargs: Any
) -> Any:
    """The result of a call of a locked function: by RQ for a job, or by hand."""
    job = get_current_job()
    if job is not None and not is_running(job) and job.worker_name != "sync" and taker in wrapped(job.func):
        plan = plan_for(House.of(job.connection), name_of(job), job.func, declared)
        if plan is None:
            return function(*args, **kwargs)
        return performed(job, plan, lambda: finished(function(*args, **kwargs)))
    return _by_hand(job, function, declared, args, kwargs)


def finished(result: Any) -> Any:
    """What a coroutine comes to: its work is done under the lock too. That of a generator would not be."""
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise LockConfigError(
            f"{result.__qualname__} gives a generator, whose work would be done later, without the lock: have the"
            " function do its work itself, and return a list"
        )
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def _by_hand(
    job: Job | None, function: Callable[..., Any], declared: Mapping[str, Any], args: tuple[Any, ...], kwargs: Any
) -> Any:
    name = f"{function.__module__}.{function.__qualname__}"
    if inspect.iscoroutinefunction(function) and job is None:
        raise LockConfigError(
            f"{name} is a coroutine function: RQ runs it under its lock as a job, but called by hand it would return"
            " before its work is done. Take the lock there: async with locks.alock(key)"
        )
    house = House.of(job.connection if job else None)
    plan = plan_for(house, name, innermost(function), declared)
    if plan is None:
        return function(*args, **kwargs)
    return Execution(plan, name, None, args, kwargs).run(lambda: finished(function(*args, **kwargs)))


def _belong() -> None:
    """A process that a worker of ours has spawned finds out here, if not before, that it belongs to it."""
    if "CELERY_LOCKS_RQ_HORSE" in os.environ:
        from celery_locks.rq.spawned import belong  # noqa: PLC0415 - few are spawned

        belong()
