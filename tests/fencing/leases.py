"""Leases as tests of guards need them: with a fence that is asked for."""

from __future__ import annotations

import math
import time

from celery_locks.lease import Claim, Lease
from celery_locks.stores.several import JointLease


def lease_of(fence: int, key: str = "wallet") -> Lease:
    """A lease that is held, and has this fence."""
    return Lease(Claim(key, f"owner {fence}", 30.0), fence, math.inf)


def over() -> Lease:
    """A lease that is known to be lost."""
    lease = lease_of(5)
    lease.lose("it is a test")
    return lease


def joint_lease_of(fence: int, key: str, *others: str) -> Lease:
    """A lease of several keys, of a store that gives one fence for all of them."""
    return Lease(Claim(key, f"owner {fence}", 30.0, others=others), fence, math.inf)


def separate_leases_of(**fences: int) -> Lease:
    """One of a store that counts for each key alone: by key, the fence."""
    first, *others = fences
    claim = Claim(first, "owner", 30.0, others=tuple(others))
    parts = [Lease(claim.of(key), fence, math.inf) for key, fence in fences.items()]
    return JointLease(claim, parts, has_one_fence=False, clock=time.monotonic)
