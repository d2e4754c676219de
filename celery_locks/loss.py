"""A lease that is lost: it is marked, its job is told, and it is reported, once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from celery_locks import events, signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Lease

logger = logging.getLogger("celery_locks.keeper")


def lose(lease: Lease, reason: str, on_lost: Callable[[Lease], None] | None = None) -> bool:
    """Mark a lease as lost, end its job and say so, the first time. What is said is what the lease knows of its end."""
    if not lease.lose(reason):
        return False
    if on_lost:
        _tell(on_lost, lease)
    logger.warning("lost the lease of %r, held by %s: %s", lease.key, lease.owner, lease.reason)
    if signals.lost:
        claim = lease.claim
        event = events.Lost(claim.key, claim.owner, lease.fence, lease.reason, task=claim.task, task_id=claim.task_id)
        signals.lost.send(event)
    return True


def _tell(on_lost: Callable[[Lease], None], lease: Lease) -> None:
    try:
        on_lost(lease)
    except Exception:
        logger.exception("telling the job that the lease of %r is lost failed", lease.key)
