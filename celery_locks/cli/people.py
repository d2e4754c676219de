"""Holders and those who wait, in words and as JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery_locks.cli.printing import moment, span

if TYPE_CHECKING:
    import datetime as dt

    from celery_locks.owner import Owner
    from celery_locks.sight import Seen
    from celery_locks.stores.operations import Conflict, Waiter


def age(since: float | None) -> float | None:
    """How long ago that was by this machine's clock."""
    return None if since is None else round(max(0.0, time.time() - since), 3)


def told(seen: Seen) -> dict[str, Any]:
    """A holder as JSON."""
    holding, owner, since = seen
    return {
        "owner": owner.name,
        "task": owner.task,
        "task_id": owner.task_id,
        "step": owner.step,
        "host": owner.host,
        "pid": owner.pid,
        "fence": holding.fence,
        "since": moment(since),
        "age": age(since),
        "remaining": None if holding.remaining is None else round(holding.remaining, 3),
    }


def no_job(owner: Owner) -> str:
    """Why no worker of Celery is to be asked what a holder does; nothing of one that is a job of Celery's."""
    if owner.is_rq:
        asks = f"rq.job.Job.fetch({owner.task_id!r}, connection)"
        return f"it is held for an RQ job, of which Celery's workers know nothing; what RQ knows of it tells {asks}"
    if owner.task_id is not None:
        return ""
    if owner.step is None:
        return "it is held by plain code: there is no job to ask for"
    return f"it is held for {step(owner)} of a workflow: for a message that is on its way, or the tasks of a group"


def step(owner: Owner) -> str:
    """The step of a workflow, in words."""
    return "the errback" if owner.step == "error" else f"step {owner.step}"


def told_of_waiter(waiter: Waiter, place: int) -> dict[str, Any]:
    """One in line as JSON."""
    return {"place": place, **waiter._asdict(), "since": moment(waiter.since), "age": age(waiter.since)}


def told_of_conflict(conflict: Conflict) -> dict[str, Any]:
    """One who found the key taken as JSON."""
    return {**conflict._asdict(), "when": moment(conflict.when)}


def since(seen: Seen) -> str:
    """Since when a holder has its key, in words."""
    written = moment(seen.since, _written)
    return f"{written} ({span(age(seen.since))} ago)" if written else "not known: the fences of this store are no times"


def remaining(seen: Seen) -> str:
    """How long its lease lasts, in words."""
    left = seen.holding.remaining
    return "until its process or connection ends" if left is None else f"{span(left)} unless renewed"


def _written(when: dt.datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"
