"""One round trip that renews leases: many at a beat, or one by hand."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import State, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Lease
    from celery_locks.stores.several import Several

UNANSWERED = "the part of the store that has it did not answer"


def renewed(store: Several, leases: Sequence[Lease], clock: Callable[[], float]) -> set[Lease]:
    """Renew these leases in one round trip, note it on each, and give back those that are lost."""
    before = clock()
    lost = set()
    # We believe in it for its ttl all the same.
    asked = [lease if lease.until <= before + lease.ttl else _lasting(lease, lease.until - before) for lease in leases]
    for lease, verdict in zip(leases, store.renew(asked), strict=True):
        if verdict is Verdict.RENEWED:
            lease.extend(None if lease.deadline is None else before + lease.ttl)
        elif verdict is Verdict.LOST:
            lost.add(lease)
        else:
            lease.doubt()
    return lost


def renewed_for(store: Several, lease: Lease, ttl: float, clock: Callable[[], float]) -> bool:
    """Renew a lease for `ttl` seconds from now on; False when it is lost, which is for the caller to report."""
    before, lease.ttl = lease.ttl, ttl
    try:
        lease.shorten(clock() + ttl)
        return _renewed_alone(store, lease, clock)
    except BaseException:
        lease.ttl = before
        raise


def _renewed_alone(store: Several, lease: Lease, clock: Callable[[], float]) -> bool:
    lost = renewed(store, [lease], clock)
    if not lost and lease.state is State.UNKNOWN:
        raise StoreUnavailable(UNANSWERED)
    return not lost


def stays(store: Several, lease: Lease, seconds: float) -> bool:
    """Keep the key of a lease that is over taken for so long from now on; False when it was not ours any more."""
    [verdict] = store.renew([_lasting(lease, seconds)])
    if verdict is Verdict.UNKNOWN:
        raise StoreUnavailable(UNANSWERED)
    return verdict is Verdict.RENEWED


def _lasting(lease: Lease, seconds: float) -> Lease:
    other = copy.copy(lease)
    other.ttl = seconds
    return other
