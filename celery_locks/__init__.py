"""Locks for Celery jobs, on keys made from their own arguments.

`@app.task(base=LockedTask, lock_key="wallet:{user_id}")` makes two jobs of one user wait for each other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_locks.aio import AsyncLock
    from celery_locks.annotation import install
    from celery_locks.canvas import baton
    from celery_locks.current import current_lease
    from celery_locks.errors import (
        LockConfigError,
        LockError,
        LockLost,
        LockNotOwned,
        LockTimeout,
        StaleFence,
        StoreUnavailable,
    )
    from celery_locks.lease import Holding, Lease
    from celery_locks.lock import Lock
    from celery_locks.locks import Locks
    from celery_locks.policies import Contention, Fail, Requeue, Skip
    from celery_locks.task import LockedTask

__all__ = [
    "AsyncLock",
    "Contention",
    "Fail",
    "Holding",
    "Lease",
    "Lock",
    "LockConfigError",
    "LockError",
    "LockLost",
    "LockNotOwned",
    "LockTimeout",
    "LockedTask",
    "Locks",
    "Requeue",
    "Skip",
    "StaleFence",
    "StoreUnavailable",
    "baton",
    "current_lease",
    "install",
]

_MODULE = {
    "AsyncLock": "aio",
    "Contention": "policies",
    "Fail": "policies",
    "Holding": "lease",
    "Lease": "lease",
    "Lock": "lock",
    "LockConfigError": "errors",
    "LockError": "errors",
    "LockLost": "errors",
    "LockNotOwned": "errors",
    "LockTimeout": "errors",
    "LockedTask": "task",
    "Locks": "locks",
    "Requeue": "policies",
    "Skip": "policies",
    "StaleFence": "errors",
    "StoreUnavailable": "errors",
    "baton": "canvas",
    "current_lease": "current",
    "install": "annotation",
}


def __getattr__(name: str) -> object:
    """Each name is imported when it is first asked for: a program pays for what it uses."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - read only when asked for

        return version("celery-locks")
    if name in ("errors", "events", "signals"):
        return import_module(f"{__name__}.{name}")
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)
    return value
