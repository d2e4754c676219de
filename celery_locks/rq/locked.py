"""The decorator of a job's function."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from celery_locks.errors import LockConfigError
from celery_locks.keys import Arguments, KeyMaker
from celery_locks.options import Options
from celery_locks.rq.taking import called

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.keys import KeySource
    from celery_locks.options import Countdown, OnLost, OnOutage, Unique
    from celery_locks.policies import Policy

P = ParamSpec("P")
R = TypeVar("R")


@overload
def locked(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def locked(
    *,
    key: KeySource = ...,
    ttl: float = ...,
    heartbeat: bool = ...,
    wait: float = ...,
    on_contention: Policy = ...,
    countdown: Countdown = ...,
    max_requeues: int | None = ...,
    max_wait: float | None = ...,
    on_lost: OnLost = ...,
    on_outage: OnOutage = ...,
    store: str | None = ...,
    fair: bool = ...,
    slots: int = ...,
    shared: bool = ...,
    unique: Unique | None = ...,
    unique_ttl: float = ...,
    at_least: float = ...,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def locked(function: Any = None, /, **options: Any) -> Any:
    """Have the jobs of a function hold a lock on a key, made from their own arguments, while they run.

        @locked(key="invoice:{invoice_id}", ttl=60)
        def send_invoice(invoice_id): ...

    A job that finds its key taken goes back to its queue, unless its options say otherwise; they are those of a
    `LockedTask`. Called directly, the function takes the lock and raises `LockTimeout` when the key is taken.
    """
    if function is None:
        return functools.partial(_locked, options)
    return _locked(options, function)


def _locked(options: dict[str, Any], function: Any) -> Any:
    declared = {f"lock_{name}": value for name, value in options.items()}
    name = f"{function.__module__}.{function.__qualname__}"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise LockConfigError(
            f"job {name} is a generator function: a call of it does none of its work, which would be done later,"
            " without the lock. Have it do its work itself, and return a list"
        )
    # A mistake in it is found before there is a job.
    checked = Options.made(declared, where=f"job {name}")
    KeyMaker(name, checked.key, Arguments.of(function, bound=_takes_self(function)))

    @functools.wraps(function)
    def taker(*args: Any, **kwargs: Any) -> Any:
        return called(taker, function, declared, args, kwargs)

    taker.lock_options = declared  # type: ignore[attr-defined]  # for whoever enqueues
    return taker


def _takes_self(function: Any) -> bool:
    """Whether it is a method being defined: RQ gives a job of one its instance apart. A static method takes none."""
    first = next(iter(inspect.signature(function).parameters), None)
    return first in ("self", "cls") and "." in function.__qualname__.rpartition("<locals>.")[2]
