"""Places in the queue: the keys they have, and the claims that jobs take along in their messages."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.crowd import holders
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim, Lease, Verdict, new_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celery_locks.plan import Plan
    from celery_locks.stores import Store

logger = logging.getLogger("celery_locks.unique")

#: Headers of a job that has a place: the key that was taken for it, and the owner in whose name.
KEY, OWNER = "lock_unique_key", "lock_unique_owner"
#: The fence that the place was given: while it has that, nobody has given it back.
FENCE = "lock_unique_fence"
#: The name of the send, where that is not the owner's: by it the copies of a message are known.
SEND = "lock_unique_send"
_OURS = (KEY, OWNER, FENCE, SEND)


class Stand(NamedTuple):
    """What a message says of its job's place: the claim on it, its fence if that is known, and the name of the send.

    The name stays the same however often the job is published again. A claim without a key: another job has the place.
    """

    claim: Claim
    fence: int | None
    send: str


def place_key(task: str, keys: Sequence[str]) -> str:
    """The key of the place in the queue. Another task's job with the same keys is no second one of this."""
    return f"unique:{task}:{keys[0] if len(keys) == 1 else json.dumps(keys)}"


def claimed(task: str, task_id: str, key: str, ttl: float) -> Claim:
    """A claim on a place for the job of this id, in a name that nobody has had."""
    return Claim(key, named(task, task_id), ttl, task, task_id)


def named(task: str, task_id: str) -> str:
    """A name for one send of the job of this id."""
    return new_owner(f"{task}[{task_id}]")


def job_of(owner: str | None, task: str) -> str | None:
    """The id of the task's job that holds a key in this name; None when it is none."""
    name, is_job, _ = (owner or "").rpartition("]@")
    return name[len(task) + 1 :] if is_job and name.startswith(f"{task}[") else None


def headers_of(stand: Stand, sent: Mapping[str, Any] | None) -> dict[str, Any]:
    """The headers of a message that says this, whatever it came with."""
    headers = {name: value for name, value in (sent or {}).items() if name not in _OURS}
    claim, fence, send = stand
    if claim.key:
        headers |= {KEY: claim.key, OWNER: claim.owner}
    if claim.key and fence is not None:
        headers[FENCE] = fence
    if not claim.key or claim.owner != send:
        headers[SEND] = send
    return headers


def found(sent: Mapping[str, Any] | None, task: str, task_id: str | None, ttl: float) -> Stand | None:
    """What a job's message says. The place of another job, whose headers were passed on, is not this one's."""
    key, owner, fence, send = ((sent or {}).get(header) for header in _OURS)
    owner, send = (_of(name, task, task_id) for name in (owner, send))
    has_place = isinstance(key, str) and owner is not None
    name = send or (owner if has_place else None)
    if name is None:
        return None
    claim = Claim(str(key) if has_place else "", owner if owner and has_place else name, ttl, task, str(task_id))
    return Stand(claim, fence if isinstance(fence, int) else None, name)


def _of(owner: Any, task: str, task_id: str | None) -> str | None:
    """A name, if it is one of the task's job."""
    # An id may be a UUID, which some brokers bring back as one.
    return owner if isinstance(owner, str) and task_id and job_of(owner, task) == str(task_id) else None


def renewed(store: Store, claim: Claim, fence: int) -> Lease | None:
    """The lease that a place still has, for the ttl of this claim; None when it was given back or has expired."""
    lease = Lease(claim, fence, store.clock() + claim.ttl, store.clock)
    [verdict] = store.renew([lease])
    if verdict is Verdict.UNKNOWN:
        raise StoreUnavailable(f"whether {claim.key!r} is still taken is not known", claim.key)
    return lease if verdict is Verdict.RENEWED else None


def kept(plan: Plan, stand: Stand, is_copy: Callable[[], bool] = bool) -> Stand:
    """Have a place last while its job waits; taken anew if it is free, unless this is a copy of one that has begun."""
    store, (claim, fence, send) = plan.guard.store, stand
    try:
        if fence is not None and renewed(store, claim, fence):
            return stand
        # A store that knows that an owner is done gives it nothing more.
        for each in () if is_copy() else (claim, renamed(claim)):
            outcome = store.acquire(each)
            if isinstance(outcome, Lease):
                return Stand(each, outcome.fence, send)
    except StoreUnavailable as error:
        logger.warning("%r may be free before its job runs: %s", claim.key, error)
        return stand
    return Stand(claim._replace(key=""), None, send)


def renamed(claim: Claim) -> Claim:
    """The same, in a name that nobody has had."""
    return claim._replace(owner=named(claim.task or "", claim.task_id or ""))


def give_back(store: Store, claim: Claim) -> bool:
    """Free a place, as far as the store can be reached: the ttl ends it."""
    try:
        return store.release(claim)
    except StoreUnavailable as error:
        logger.warning("%r stays taken for %s[%s]: %s", claim.key, claim.task, claim.task_id, error)
        return False


def give_up(plan: Plan, claim: Claim, args: Any, kwargs: Any) -> None:
    """Free the place of a job that ends without having begun, unless another copy of its message runs."""
    # A key that is to stay taken may be so of an earlier try of this very job.
    if plan.options.at_least or not is_running(plan, claim, args, kwargs):
        give_back(plan.guard.store, claim)


def is_running(plan: Plan, claim: Claim, args: Any, kwargs: Any) -> bool:
    """Whether a copy of a job's message runs, as far as that can be known."""
    try:
        running = holders(plan.guard.store, plan.keys(tuple(args), dict(kwargs))[0])
    except Exception as error:  # noqa: BLE001 - a key that cannot be made is nobody's
        logger.debug("who runs under the key of %s[%s] is not known: %s", claim.task, claim.task_id, error)
        return False
    return any(job_of(each.owner, claim.task or "") == claim.task_id for each in running)
