"""Which sends have ended for good: a copy of such a message that comes, or has its turn, after that does not run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, Reject, Retry

from celery_locks import events, signals
from celery_locks.errors import StoreUnavailable
from celery_locks.stores import Inspects
from celery_locks.stores.notes import Notes
from celery_locks.unique import places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_locks.lease import Claim
    from celery_locks.plan import Plan
    from celery_locks.stores import Store

logger = logging.getLogger("celery_locks.unique")


class Ended(Ignore):
    """Ends a copy of a message whose job has ended: what became of that stays as it is."""


def heard(error: BaseException) -> BaseException:
    """Note of one that is ignored that its place was seen to, as it is not in `before_start`: the worker is told so."""
    if isinstance(error, Ignore):
        error.sees_to_place = True  # type: ignore[attr-defined]  # it goes to the main process with the error
    return error


def was_heard(error: BaseException) -> bool:
    """Whether the process of the job has seen to its place itself."""
    return getattr(error, "sees_to_place", False)


def is_final(task: Any, error: BaseException | None) -> bool:
    """Whether Celery takes this for the end of a job, and acknowledges its message.

    What is rejected may come again, be it by a queue for dead letters. So does what ends a process.
    """
    if error is None or isinstance(error, Ignore):
        return True
    if not isinstance(error, Exception) or isinstance(error, (Retry, Reject, MemoryError)):
        return False
    return bool(not task.acks_late or _acks_on_failure(task))


def _acks_on_failure(task: Any) -> Any:
    # One setting for failures and time limits until Celery had one for each.
    asked = getattr(task, "acks_on_failure", None)
    return task.acks_on_failure_or_timeout if asked is None else asked


def mark(store: Store, send: str, claim: Claim, seconds: float) -> None:
    """Remember that what was sent in this name has ended, as far as the store can be reached."""
    try:
        if isinstance(store, Notes):
            store.note(_name(send), seconds)
        else:
            # Asked for in a new name each time: the store may have been told to forget one that was interrupted.
            store.acquire(places.claimed(claim.task or "", claim.task_id or "", _name(send), seconds))
    except StoreUnavailable as error:
        logger.warning(
            "a copy of the message of %s[%s] may run, although the job has ended: %s", claim.task, claim.task_id, error
        )


def is_marked(store: Store, send: str) -> bool:
    """Whether what was sent in this name is known to have ended. Raises `StoreUnavailable` when that cannot be told."""
    if isinstance(store, Notes):
        return store.is_noted(_name(send))
    return isinstance(store, Inspects) and store.inspect(_name(send)) is not None


def is_copy(plan: Plan, sent: Mapping[str, Any], task: str, task_id: str, holder: str | None) -> bool:
    """Whether the job of a message that waits for its key runs already or has ended, as far as can be known."""
    stand = places.found(sent, task, task_id, plan.options.ttl) if plan.options.unique else None
    if stand is None:
        return False
    try:
        return places.job_of(holder, task) == task_id or is_marked(plan.guard.store, stand.send)
    except StoreUnavailable:
        return False


def told(send: str, claim: Claim) -> Ended:
    """What ends a copy, after saying so to all who listen."""
    signals.duplicate.send(
        events.Duplicate(claim.key, send, task=claim.task, task_id=claim.task_id, is_copy=True),
    )
    return Ended(f"{claim.task}[{claim.task_id}] has ended already: this is a copy of its message")


def _name(send: str) -> str:
    return f"ended:{send}"
