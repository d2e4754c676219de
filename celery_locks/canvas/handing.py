"""Gives the key to the next of a workflow: in one step, so that nobody else can have it in between."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from celery_locks import telling
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim, Lease, State

if TYPE_CHECKING:
    from celery_locks.guard import Guard

logger = logging.getLogger("celery_locks.canvas")


def hand_over(guard: Guard, lease: Lease, to: str, ttl: float) -> bool:
    """Give it to this owner, for so long; False when it was not ours any more."""
    if lease.state is State.RELEASED:
        # Done, and called again for an interrupt.
        return True
    return _taken(guard, lease, Claim(lease.key, to, ttl, after=lease.owner, in_common=True), None) is not None


def keep(guard: Guard, lease: Lease, claim: Claim, beat: float) -> Lease | None:
    """Go on holding it under another claim, that is not given back when the job that held it ends."""
    return _taken(guard, lease, claim._replace(after=lease.owner), beat)


def free(guard: Guard, key: str, owner: str) -> None:
    """Give the key back that is on its way to this owner, as far as the store can be reached: the ttl ends it."""
    try:
        guard.store.release(Claim(key, owner, 1.0))
    except StoreUnavailable as error:
        logger.warning("%r stays taken until its lease ends: %s", key, error)


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
        care.watch(taken, beat, None)
    return taken


def _asked(guard: Guard, lease: Lease, claim: Claim) -> Lease | None:
    try:
        try:
            taken = guard.store.acquire(claim)
        except StoreUnavailable:
            # It may have gone there without our hearing of it: asked again, the store says so.
            taken = guard.store.acquire(claim)
    except StoreUnavailable as error:
        logger.warning("%r could not be handed over: %s", lease.key, error)
        return None
    if isinstance(taken, Lease) and taken.fence != lease.fence:
        # It was lost and free again: others may have had it while the job ran.
        free(guard, claim.key, claim.owner)
        return None
    return taken if isinstance(taken, Lease) else None
