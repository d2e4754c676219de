"""The same locks for RQ jobs.

`@locked(key="invoice:{invoice_id}")` on a job's function makes two jobs of one invoice wait for each other, also when
one runs with Celery. `rq worker -w celery_locks.rq.LockedWorker` runs such jobs, and any others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_locks.rq.house import configure
    from celery_locks.rq.job import LockedJob, waiting
    from celery_locks.rq.locked import locked
    from celery_locks.rq.queue import LockedQueue
    from celery_locks.rq.spawning import LockedSpawnWorker
    from celery_locks.rq.worker import LockedSimpleWorker, LockedWorker

__all__ = [
    "LockedJob",
    "LockedQueue",
    "LockedSimpleWorker",
    "LockedSpawnWorker",
    "LockedWorker",
    "configure",
    "locked",
    "waiting",
]

_MODULE = {
    "LockedJob": "job",
    "LockedQueue": "queue",
    "LockedSimpleWorker": "worker",
    "LockedSpawnWorker": "spawning",
    "LockedWorker": "worker",
    "configure": "house",
    "waiting": "job",
}


def __getattr__(name: str) -> object:
    """Each name is imported when it is first asked for: who enqueues needs no worker."""
    if name == "locked":
        # The module of that name takes its place in this one as soon as it is imported.
        from celery_locks.rq.locked import locked  # noqa: PLC0415 - see above

        globals()[name] = locked
        return locked
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)
    return value
