"""Places in the queue: the keys they have, and the claims that jobs take along in their messages."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from celery_locks.crowd import holders
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim, new_owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery_locks.plan import Plan
    from celery_locks.stores import Store

logger = logging.getLogger("celery_locks.unique")

#: Headers of a job that has a place: the key that was taken for it, and the owner in whose name.
KEY, OWNER = "lock_unique_key", "lock_unique_owner"


def place_key(task: str, keys: Sequence[str]) -> str:
    """The key of the place in the queue. Another task's job with the same keys is no second one of this."""
    return f"unique:{task}:{keys[0] if len(keys) == 1 else json.dumps(keys)}"


def claimed(task: str, task_id: str, key: str, ttl: float) -> Claim:
    """A claim on a place for the job of this id, in a name that nobody has had."""
    return Claim(key, new_owner(f"{task}[{task_id}]"), ttl, task, task_id)


def job_of(owner: str | None, task: str) -> str | None:
    """The id of the task's job that holds a key in this name; None when it is none."""
    name, is_job, _ = (owner or "").rpartition("]@")
    return name[len(task) + 1 :] if is_job and name.startswith(f"{task}[") else None


def headers_of(claim: Claim | None, sent: Mapping[str, Any] | None) -> dict[str, Any]:
    """The headers of a message with this claim, or with none, whatever it came with."""
    others = {name: value for name, value in (sent or {}).items() if name not in (KEY, OWNER)}
    return {**others, KEY: claim.key, OWNER: claim.owner} if claim else others


def found(sent: Mapping[str, Any] | None, task: str, task_id: str | None, ttl: float) -> Claim | None:
    """The claim that a job was sent with. One of another job's, whose headers were passed on, is not this one's."""
    key, owner = (sent or {}).get(KEY), (sent or {}).get(OWNER)
    # An id may be a UUID, which some brokers bring back as one.
    if isinstance(key, str) and isinstance(owner, str) and task_id and job_of(owner, task) == str(task_id):
        return Claim(key, owner, ttl, task, str(task_id))
    return None


def give_back(store: Store, claim: Claim) -> bool:
    """Free a place, as far as the store can be reached: the ttl ends it."""
    try:
        return store.release(claim)
    except StoreUnavailable as error:
        logger.warning("%r stays taken for %s[%s]: %s", claim.key, claim.task, claim.task_id, error)
        return False


def give_up(plan: Plan, claim: Claim, args: Any, kwargs: Any) -> None:
    """Free the place of a job that ends without having begun, unless another copy of its message runs."""
    store = plan.guard.store
    try:
        running = holders(store, plan.keys(tuple(args), dict(kwargs))[0])
    except Exception as error:  # noqa: BLE001 - a key that cannot be made is nobody's
        logger.debug("who runs under the key of %s[%s] is not known: %s", claim.task, claim.task_id, error)
        running = []
    # A key that is to stay taken may be so of an earlier try of this very job.
    if plan.options.at_least or all(job_of(each.owner, claim.task or "") != claim.task_id for each in running):
        give_back(store, claim)
