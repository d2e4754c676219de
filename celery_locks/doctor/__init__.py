"""What is wrong with a configuration as it runs: each hazard is one small function in the room of what it looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.doctor import clocks, files, redis, redlock, store, tasks
from celery_locks.doctor.finding import SILENT, Finding, some
from celery_locks.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.doctor.ward import AppCase, StoreCase

__all__ = ["Finding", "of_app", "of_store"]

_OF_APPS = (*tasks.CHECKS, *clocks.OF_APPS)
_OF_STORES = (*store.CHECKS, *clocks.OF_STORES, *redis.CHECKS, *redlock.CHECKS, *files.CHECKS)


def of_app(case: AppCase) -> Iterator[Finding]:
    """What is wrong with an app and its locked tasks, whatever their stores."""
    return _examined(_OF_APPS, case, case.name)


def of_store(case: StoreCase) -> Iterator[Finding]:
    """What is wrong with a store. One that does not answer is asked no more."""
    if trouble := store.trouble(case):
        yield trouble
        return
    yield from _examined(_OF_STORES, case, case.name)


def _examined(checks: Sequence[Callable[..., Iterator[Finding]]], case: object, name: str) -> Iterator[Finding]:
    failed: dict[str, list[str]] = {}
    for check in checks:
        yield from _heard(check, case, failed)
    for message, unseen in failed.items():
        yield SILENT.found(f"{name}: not looked for: {some(unseen)}: {message}")


def _heard(check: Callable[..., Iterator[Finding]], case: object, failed: dict[str, list[str]]) -> Iterator[Finding]:
    try:
        yield from check(case)
    except LockError as error:
        failed.setdefault(error.message, []).append(check.__name__.replace("_", " "))
