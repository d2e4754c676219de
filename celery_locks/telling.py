"""What is told of a claim to all who listen. An event that nobody wants is never made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks import events, signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Busy, Claim, Lease


def _nobody_knows(_: Claim) -> int | None:
    return None


#: How often the job of a claim has gone back to its queue so far. Only a face that has queues knows, and sets it.
attempts_of: Callable[[Claim], int | None] = _nobody_knows


def acquired(lease: Lease, waited: float) -> None:
    """The key was taken."""
    if signals.acquired:
        claim = lease.claim
        known = {**events.of(claim), "attempts": attempts_of(claim)}
        event = events.Acquired(claim.key, claim.owner, lease.fence_of(claim.key), waited, **known)
        signals.acquired.send(event)


def contended(claim: Claim, busy: Busy, waited: float) -> None:
    """The key was still taken."""
    if signals.contended:
        key = busy.key or claim.key
        known = {**events.of(claim), "age": busy.age, "attempts": attempts_of(claim)}
        signals.contended.send(events.Contended(key, claim.owner, *busy[:3], waited, **known))


def released(lease: Lease, held: float) -> None:
    """The key was given back."""
    if signals.released:
        claim = lease.claim
        event = events.Released(claim.key, claim.owner, lease.fence_of(claim.key), held, **events.of(claim))
        signals.released.send(event)


def expired(lease: Lease, held: float) -> None:
    """The lease was found over when it was to be given back."""
    if signals.expired:
        claim = lease.claim
        event = events.Expired(claim.key, claim.owner, lease.fence_of(claim.key), held, **events.of(claim))
        signals.expired.send(event)
