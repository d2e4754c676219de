"""The lease of the job that runs now."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from celery_locks.errors import LockError
from celery_locks.lease import State

if TYPE_CHECKING:
    from celery_locks.lease import Lease
    from celery_locks.plan import Plan
    from celery_locks.stores import Store

_current: ContextVar[Lease | None] = ContextVar("celery_locks_lease", default=None)
_shared: ContextVar[tuple[Lease, Store] | None] = ContextVar("celery_locks_shared", default=None)


def current_lease() -> Lease:
    """The lease that the running job holds.

    Raises `LockError` where no job runs under a lock, a thread started by the job among them: hand it the lease.
    """
    lease = _current.get()
    # One that was released was left behind by an interrupt that struck while its job was ending.
    if lease is None or lease.state is State.RELEASED:
        raise LockError(
            "no lease here: current_lease() works inside a LockedTask or the job given to Locks.run(); elsewhere use"
            " the lease that `with locks.lock(...) as lease` gives"
        )
    return lease


class carrying:  # noqa: N801 - used as a verb: `with carrying(lease):`
    """Make a lease the current one for the body."""

    __slots__ = ("_before", "_lease")

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._before = _current.get()

    def __enter__(self) -> Lease:
        _current.set(self._lease)
        return self._lease

    def __exit__(self, *_: object) -> None:
        _current.set(self._before)


class sharing:  # noqa: N801 - used as a verb: `with sharing(lease, store):`
    """Let whatever needs no more than this lease's keys, of this store, run under it in the body."""

    __slots__ = ("_before", "_lease", "_store")

    def __init__(self, lease: Lease, store: Store) -> None:
        self._lease, self._store = lease, store
        self._before = _shared.get()

    def __enter__(self) -> Lease:
        _shared.set((self._lease, self._store))
        return self._lease

    def __exit__(self, *_: object) -> None:
        _shared.set(self._before)


def apart(keys: tuple[str, ...], plan: Plan) -> tuple[Lease | None, tuple[str, ...]]:
    """The lease of a workflow that has all these keys of one of its jobs; and those that are to be taken."""
    mine = _shared.get()
    if mine is None or not _is_same(mine[1], plan.guard.store):
        return None, keys
    others = tuple(key for key in keys if key not in mine[0].keys)
    return (None, others) if others else (mine[0], keys)


def _is_same(store: Store, other: Store) -> bool:
    # A store may be open under several aliases.
    return store is other or (repr(store) == repr(other) and store.prefix == other.prefix)
