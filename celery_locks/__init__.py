"""Locks for Celery jobs, on keys made from their own arguments.

`@app.task(base=LockedTask, lock_key="wallet:{user_id}")` makes two jobs of one user wait for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.errors import LockConfigError, LockError, LockLost, LockNotOwned, LockTimeout, StoreUnavailable
from celery_locks.instrumentation import log
from celery_locks.lease import Holding, Lease, current_lease
from celery_locks.lock import Lock
from celery_locks.locks import Locks
from celery_locks.policies import Contention, Fail, Requeue, Skip

if TYPE_CHECKING:
    from celery_locks.task import LockedTask

__all__ = [
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
    "StoreUnavailable",
    "current_lease",
]

log.install()


def __getattr__(name: str) -> object:
    if name == "LockedTask":
        from celery_locks.task import LockedTask  # noqa: PLC0415 - plain code that only wants Locks does not need Celery

        return LockedTask
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - read only when asked for

        return version("celery-locks")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
