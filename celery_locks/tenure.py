"""What a lock shows of the lease it holds, whoever waits for it: threads or coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_locks.lease import Lease


class Tenure:
    """A lock with a lease, or without one."""

    @property
    def lease(self) -> Lease | None:
        """The lease this lock holds or has lost; None when it was not acquired or is released."""
        raise NotImplementedError

    @property
    def remaining(self) -> float | None:
        """Seconds the lease lasts without renewal; 0.0 when not held; None where locks have no ttl."""
        return self.lease.remaining if self.lease else 0.0

    @property
    def owner(self) -> str | None:
        """The name under which this lock holds its key: what `Locks.restore` takes."""
        return self.lease.owner if self.lease else None

    @property
    def fence(self) -> int | None:
        """The number that orders this holder among all holders of the key."""
        return self.lease.fence if self.lease else None
