"""Leases as tests of guards need them: with a fence that is asked for."""

from __future__ import annotations

import math

from celery_locks.lease import Claim, Lease


def lease_of(fence: int, key: str = "wallet") -> Lease:
    """A lease that is held, and has this fence."""
    return Lease(Claim(key, f"owner {fence}", 30.0), fence, math.inf)


def over() -> Lease:
    """A lease that is known to be lost."""
    lease = lease_of(5)
    lease.lose("it is a test")
    return lease
