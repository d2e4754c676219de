"""Who writes: the lease whose fence a guard goes by, and what makes it the wrong one."""

from __future__ import annotations

import inspect
import warnings

from celery_locks.asking import not_owned
from celery_locks.current import current_lease
from celery_locks.errors import LockConfigError, LockError, LockNotOwned, StaleFence
from celery_locks.lease import Lease
from celery_locks.lock import Lock

#: Whoever is called from these is not the user: Django calls the methods of a manager from a module of its own.
_BETWEEN = ("celery_locks.fencing", "django.db.models.manager")
#: What is as large as a column of the databases can be.
_LARGEST = 2**63 - 1


class FenceWarning(UserWarning):
    """The fences that a guard goes by may go down, for a reason that their store gives."""


def bearer(lease: Lease | Lock | None, key: str | None = None) -> Lease:
    """The lease to write under: the one that is given, or that of the running job; of several keys, as one of `key`.

    Raises `LockError` where there is none, `LockNotOwned` where it is of another key than what is written is guarded
    by, `LockLost` where it is known to be over, and `LockConfigError` where its store gives no fences. What is not
    known here only the guard itself can tell.
    """
    found = _found(lease)
    if key is not None and key not in found.keys:
        raise LockNotOwned(
            f"what is guarded by the key {key!r} was to be written under the lease of {found.claim.shown}, whose fence"
            " says nothing about it: take the lock on that key",
            key,
        )
    found.ensure_held()
    if key is not None:
        found = found.of(key)
    if not 0 < found.fence <= _LARGEST:
        raise LockConfigError(
            f"the lease of {found.key!r} has the fence {found.fence}, and a guard goes by numbers from 1 to 2**63-1"
            " that grow from holder to holder: the store that gave it has none, take another"
        )
    if found.caveat:
        warnings.warn(found.caveat, FenceWarning, stacklevel=_distance())
    return found


def _distance() -> int:
    """How many calls up the user's line is."""
    frame, distance = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_BETWEEN):
        frame, distance = frame.f_back, distance + 1
    return distance


def _found(lease: Lease | Lock | None) -> Lease:
    if isinstance(lease, Lease):
        return lease
    if isinstance(lease, Lock):
        if lease.lease is None:
            raise not_owned(lease.claim(), None, "written under")
        return lease.lease
    if lease is not None:
        raise TypeError(f"a guard goes by a lease, or a lock that is held, and not by a {type(lease).__name__}")
    try:
        return current_lease()
    except LockError as error:
        raise LockError(f"nothing to write under: {error}, and hand it to the guard") from None


def stale(lease: Lease, what: str, stored: int | None = None) -> StaleFence:
    """The error for a write that was refused, to be raised when it is certain that none of it was done."""
    since = f"fence {stored}" if stored is not None else "a higher one"
    return StaleFence(
        f"{what} was not written: fence {lease.fence} of {lease.key!r} is stale, for {since} has been there. Another"
        " holder has the key or had it since: do not repeat the write, read anew under a new lease",
        lease.key,
    )
