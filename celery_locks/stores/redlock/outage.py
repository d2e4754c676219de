"""What to say when too few nodes answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.redis.mending import outage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.stores.redlock.ask import Ask
    from celery_locks.stores.redlock.ring import Ring

_TOLD = 3


def unavailable(ring: Ring, asks: Sequence[Ask]) -> StoreUnavailable:
    """The error that names the nodes that did not answer, and what to do about them."""
    failed = {}
    for node in ring.nodes:
        for ask in asks:
            if node not in ask.answers:
                failed[node] = ask.failures.get(node) or TimeoutError("timed out")
    told = [str(outage(str(node.place), error)) for node, error in [*failed.items()][:_TOLD]]
    if more := len(failed) - len(told):
        told.append(f"and {more} more")
    return StoreUnavailable(
        f"no {ring.majority} of the {len(ring.nodes)} nodes of {ring.name} say the same, and these say nothing: "
        + "; ".join(told)
    )
