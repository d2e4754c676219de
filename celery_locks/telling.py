"""What is told of a claim to all who listen. An event that nobody wants is never made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks import events, signals

if TYPE_CHECKING:
    from celery_locks.lease import Busy, Claim, Lease


def acquired(lease: Lease, waited: float) -> None:
    """The key was taken."""
    if signals.acquired:
        claim = lease.claim
        event = events.Acquired(claim.key, claim.owner, lease.fence, waited, task=claim.task, task_id=claim.task_id)
        signals.acquired.send(event)


def contended(claim: Claim, busy: Busy, waited: float) -> None:
    """The key was still taken."""
    if signals.contended:
        signals.contended.send(
            events.Contended(claim.key, claim.owner, *busy[:3], waited, task=claim.task, task_id=claim.task_id)
        )


def released(lease: Lease, held: float) -> None:
    """The key was given back."""
    if signals.released:
        claim = lease.claim
        event = events.Released(claim.key, claim.owner, lease.fence, held, task=claim.task, task_id=claim.task_id)
        signals.released.send(event)


def expired(lease: Lease, held: float) -> None:
    """The lease was found over when it was to be given back."""
    if signals.expired:
        claim = lease.claim
        event = events.Expired(claim.key, claim.owner, lease.fence, held, task=claim.task, task_id=claim.task_id)
        signals.expired.send(event)
