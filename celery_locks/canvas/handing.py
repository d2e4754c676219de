"""Gives the key to the next of a workflow: in one step, so that nobody else can have it in between."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from celery_locks import telling
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim, Lease, State

if TYPE_CHECKING:
    from celery_locks.guard import Guard
    from celery_locks.lease import Busy

logger = logging.getLogger("celery_locks.canvas")

#: Seconds before each try. What the store does not answer for so long, or until the lease ends, is no hiccup.
PAUSES = (0.0, 0.0, 0.1, 0.3, 0.6, 1.0)


def hand_over(guard: Guard, lease: Lease, to: str, ttl: float) -> bool:
    """Give it to this owner, for so long; False when it was not ours any more."""
    if lease.state is State.RELEASED:
        # Done, and called again for an interrupt.
        return True
    claim = Claim(lease.key, to, ttl, others=lease.claim.others, after=lease.owner, in_common=True)
    return _taken(guard, lease, claim, None) is not None


def keep(guard: Guard, lease: Lease, claim: Claim, beat: float) -> Lease | None:
    """Go on holding it under another claim, that is not given back when the job that held it ends."""
    return _taken(guard, lease, claim._replace(after=lease.owner), beat)


def free(guard: Guard, keys: tuple[str, ...], owner: str) -> None:
    """Give back what is on its way to this owner, as far as the store can be reached: the ttl ends it."""
    claim = Claim(keys[0], owner, 1.0, others=keys[1:])
    try:
        guard.verbs(claim).release(claim)
    except StoreUnavailable as error:
        logger.warning("%s stays taken until its lease ends: %s", claim.shown, error)


def _undone(guard: Guard, claim: Claim) -> None:
    try:
        guard.verbs(claim).undo(claim)
    except StoreUnavailable as error:
        logger.warning("%s stays taken until its lease ends: %s", claim.shown, error)


def _taken(guard: Guard, lease: Lease, claim: Claim, beat: float | None) -> Lease | None:
    care, taken = guard.care, None
    if not lease.held():
        return None
    care.forget(lease)
    if beat:
        care.claims(claim, beat)
    try:
        taken = _asked(guard, lease, claim)
    finally:
        if taken:
            lease.state = State.RELEASED
            care.left(lease)
        elif beat:
            care.left(claim)
    if taken is None:
        return None
    telling.released(lease, guard.store.clock() - lease.since)
    if beat:
        taken.renewer, taken.since = guard.renew, guard.store.clock()
        telling.acquired(taken, 0.0)
        care.watch(taken, beat, None)
    return taken


def _asked(guard: Guard, lease: Lease, claim: Claim) -> Lease | None:
    taken = _answered(guard, lease, claim)
    if isinstance(taken, Lease) and taken.fences != lease.fences:
        # It was lost and free again: others may have had it while the job ran. It is undone, and not released: whoever
        # comes in this name, or comes back to it, would never be given the key.
        _undone(guard, claim)
        return None
    return taken if isinstance(taken, Lease) else None


def _answered(guard: Guard, lease: Lease, claim: Claim) -> Lease | Busy | None:
    """What the store says. It may have heard of it without our hearing of that: asked again, it says so."""
    outage: StoreUnavailable | None = None
    for pause in PAUSES:
        time.sleep(pause)
        if not lease.held():
            break
        try:
            return guard.verbs(claim).acquire(claim)
        except StoreUnavailable as error:
            outage = error
    logger.warning("%s could not be handed over: %s", claim.shown, outage or "its lease has ended")
    return None
