"""The lease under which the marks of owners that are done are kept for a while."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from celery_locks.stores.etcd.leases import grant, new_number

if TYPE_CHECKING:
    from celery_locks.stores.etcd.wire import Talk

#: A mark is kept for at least half of this, in seconds: much longer than any request is late.
TTL = 240
#: Marks of one lease go at one moment: too many at once would hold other requests up.
MOST = 500


class _Lease(NamedTuple):
    number: int
    pid: int
    until: float


class Marks:
    """A lease shared by many marks of this process, so that a release need not pay for one of its own."""

    def __init__(self, ttl: int = TTL) -> None:
        self._ttl = ttl
        self._lease: _Lease | None = None
        self._uses = 0

    def lease(self, talk: Talk, uses: int = 1) -> int:
        """A lease that lives for long enough, for so many marks."""
        lease, now = self._lease, time.monotonic()
        if lease is None or lease.pid != os.getpid() or lease.until < now or self._uses >= MOST:
            number = new_number()
            grant(talk, number, self._ttl)
            # Of two threads that come here at once one wins. The other's lease is used once.
            lease, self._uses = _Lease(number, os.getpid(), now + self._ttl / 2), 0
            self._lease = lease
        self._uses += uses
        return lease.number

    def forget(self) -> None:
        """It is gone: the data of the cluster is not what it was, or this process slept."""
        self._lease = None
