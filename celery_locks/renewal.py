"""One round trip that renews leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.lease import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Lease
    from celery_locks.stores.several import Several

UNANSWERED = "the part of the store that has it did not answer"


def renewed(store: Several, leases: Sequence[Lease], clock: Callable[[], float]) -> set[Lease]:
    """Renew these leases in one round trip, note it on each, and give back those that are lost."""
    before = clock()
    lost = set()
    for lease, verdict in zip(leases, store.renew(leases), strict=True):
        if verdict is Verdict.RENEWED:
            lease.extend(None if lease.deadline is None else before + lease.ttl)
        elif verdict is Verdict.LOST:
            lost.add(lease)
        else:
            lease.doubt()
    return lost
