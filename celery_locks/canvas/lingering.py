"""The key of a workflow that failed, while Celery calls its errbacks: after the member's body, in its process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import signals
from celery.exceptions import NotRegistered
from celery.utils.functional import arity_greater

from celery_locks.canvas.handing import hand_over, keep
from celery_locks.current import carrying, sharing
from celery_locks.guard import NEVER
from celery_locks.lease import new_owner

if TYPE_CHECKING:
    from celery_locks.guard import Guard
    from celery_locks.lease import Claim, Lease
    from celery_locks.plan import Plan


class _Kept(NamedTuple):
    guard: Guard
    lease: Lease
    after: str | None
    travel: float
    ways: tuple[carrying, sharing]


_kept: dict[str, _Kept] = {}


def errbacks(task: Any, request: Any) -> tuple[int, int]:
    """How many errbacks Celery calls itself if this job fails, and how many it sends."""
    called = [
        _is_called(task.backend, task.app.signature(each)) for each in (request.errbacks if request else None) or ()
    ]
    return sum(called), len(called) - sum(called)


def linger(plan: Plan, lease: Lease, claim: Claim, after: str | None, travel: float) -> None:
    """Hold the key until Celery is done with the job, and give it to `after` then, or back."""
    if claim.task_id is None or claim.task_id in _kept:
        return
    again = claim._replace(owner=new_owner(f"{claim.task}[{claim.task_id}]"), ticket=None)
    kept = keep(plan.guard, lease, again, plan.beat or NEVER * claim.ttl)
    if kept is None:
        return
    ways = carrying(kept), sharing(kept, plan.guard.store)
    _kept[claim.task_id] = _Kept(plan.guard, kept, after, travel, ways)
    # Only now: every job of a process pays for who listens to this.
    signals.task_postrun.connect(_over, dispatch_uid="celery_locks_lingering")


def carry(task_id: str | None) -> None:
    """Have what Celery calls from here on run under the key that is held for it, if one is."""
    kept = _kept.get(task_id or "")
    for way in kept.ways if kept else ():
        way.__enter__()


def _over(task_id: Any = None, **_: Any) -> None:
    kept = _kept.pop(str(task_id), None)
    if kept is None:
        return
    if not _kept:
        signals.task_postrun.disconnect(dispatch_uid="celery_locks_lingering")
    for way in reversed(kept.ways):
        way.__exit__()
    if kept.after is None or not hand_over(kept.guard, kept.lease, kept.after, kept.travel):
        kept.guard.ended(kept.lease)


def _is_called(backend: Any, errback: Any) -> bool:
    """Whether Celery calls it in the process in which a job failed. If we are wrong it waits for the key in line."""
    try:
        header = getattr(errback.type, "__header__", None)
    except NotRegistered:
        return False
    if header is None or isinstance(header, partial):
        return False
    # Celery 5.7 leaves out the arguments that the errback has already.
    judge = getattr(backend, "_errback_arity_greater", None)
    return bool(judge(errback, 1) if judge else arity_greater(header, 1))
