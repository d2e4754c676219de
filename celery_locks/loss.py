"""A lease that is lost, or may be: it is marked, its job is told, and it is reported."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery_locks import events, signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Claim, Lease

logger = logging.getLogger("celery_locks.keeper")


def lose(lease: Lease, reason: str) -> bool:
    """Mark a lease as lost and say so, the first time. What is said is what the lease knows of its end."""
    is_first = lease.lose(reason)
    if is_first:
        report(lease)
    return is_first


def strike(lease: Lease, on_lost: Callable[[Lease], None] | None) -> None:
    """Tell the job, whatever that does."""
    try:
        if on_lost:
            on_lost(lease)
    except Exception:
        logger.exception("telling the job that the lease of %s is lost failed", lease.claim.shown)


def report(lease: Lease) -> None:
    """Say that it is lost, to the log and to all who listen: they may take their time."""
    said = lease.claim.shown, lease.owner, lease.reason
    logger.warning("lost the lease of %s, held by %s: %s", *said, extra=events.data(_lost(lease)))
    tell(lease)


def tell(lease: Lease) -> None:
    """Say that it is lost to all who listen."""
    if signals.lost:
        signals.lost.send(_lost(lease))


def report_outage(claim: Claim, during: str, reason: str) -> dict[str, Any]:
    """Say that the store had no answer: not knowing is not losing. As data too, for a line in the log."""
    event = events.Outage(claim.key, claim.owner, during, reason, **events.of(claim))
    signals.outage.send(event)
    return events.data(event)


def _lost(lease: Lease) -> events.Lost:
    claim = lease.claim
    return events.Lost(claim.key, claim.owner, lease.fence_of(claim.key), lease.reason, **events.of(claim))
