"""Says when a worker starts what its pool cannot do for a job whose lease is lost."""

from __future__ import annotations

import logging
from typing import Any

from celery.concurrency import prefork, solo

logger = logging.getLogger("celery_locks.worker")

#: How many tasks a log line names.
_SHOWN = 3
_SOLO = (
    "lock_on_lost='kill' is 'raise' in a solo pool, for tasks like %s: a job whose lease is lost is stopped with"
    " LockLost, and its process, which is the worker, lives on. A prefork pool ends it"
)
_OTHER = (
    "no job of this pool (%s) can be interrupted: one of tasks like %s whose lease is lost runs on to its end and then"
    " fails with LockLost, lock_on_lost='kill' too, while another may hold its key. Call"
    " current_lease().ensure_held() before what cannot be undone, or use a prefork pool"
)


def say_limits(w: Any) -> None:
    """Warn once, where the tasks of a worker ask for what its pool cannot do."""
    if isinstance(w.pool, prefork.TaskPool):
        return
    if isinstance(w.pool, solo.TaskPool):
        if asking := _tasks(w.app, "kill"):
            logger.warning(_SOLO, _named(asking))
    elif asking := _tasks(w.app, "raise", "kill"):
        logger.warning(_OTHER, type(w.pool).__module__.rpartition(".")[2], _named(asking))


def _tasks(app: Any, *ways: str) -> list[str]:
    plans = ((name, getattr(task, "_plan", None)) for name, task in app.tasks.items())
    return sorted(name for name, plan in plans if plan and plan.options.on_lost in ways)


def _named(tasks: list[str]) -> str:
    return ", ".join(tasks[:_SHOWN]) + (", ..." if len(tasks) > _SHOWN else "")
