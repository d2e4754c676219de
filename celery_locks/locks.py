"""Locks for plain code: web requests, scripts, anything that is not a job of its own."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from celery_locks import config, options
from celery_locks.errors import LockConfigError, LockNotOwned, LockTimeout, StoreUnavailable
from celery_locks.guard import Guard
from celery_locks.lease import Busy, Claim, Lease, new_owner
from celery_locks.stores import DEFAULT_PREFIX, Inspects, Store, open_store
from celery_locks.stores.base import require_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from celery_locks.guard import Refusal
    from celery_locks.lease import Holding

T = TypeVar("T")
B = TypeVar("B")


class _Raise:
    def __repr__(self) -> str:
        return "raise LockTimeout"


RAISE: Final = _Raise()


class Locks:
    """The locks of one store."""

    def __init__(self, store: str | Store, *, prefix: str = DEFAULT_PREFIX, **settings: Any) -> None:
        self.store = store if isinstance(store, Store) else open_store(store, prefix=prefix, options=settings)
        self.guard = Guard(self.store)

    @classmethod
    def from_app(cls, app: Any, alias: str | None = None) -> Locks:
        """The locks of a Celery app's store, or of another one it names in `lock_stores`; made once an app."""
        known = _of_app.setdefault(app, {})
        if alias not in known:
            url, prefix, settings = config.store_settings(app.conf, alias)
            # Of two threads that come here at once one wins; nothing is connected yet.
            known.setdefault(alias, cls(url, prefix=prefix, **settings))
        return known[alias]

    def lock(self, key: str, *, ttl: float = 30.0, heartbeat: bool = False) -> Lock:
        """A lock on a key, not yet taken. It ends after `ttl` seconds unless renewed; `heartbeat` renews it."""
        return Lock(self, key, ttl=ttl, heartbeat=heartbeat)

    def run(  # noqa: PLR0913 - a call that says how, by name
        self,
        key: str,
        job: Callable[[], T],
        *,
        ttl: float = 30.0,
        wait: float = 0.0,
        heartbeat: bool = False,
        busy: B | _Raise = RAISE,
    ) -> T | B:
        """Do the work under a lock and give its result.

        Raises `LockTimeout` when the key is still taken after `wait` seconds, or gives `busy` if that was named.
        Raises `LockLost` when the work is done but outlived its lease.
        """
        lock = self.lock(key, ttl=ttl, heartbeat=heartbeat)
        wait = options.seconds("wait", wait, f"lock {key!r}")

        def otherwise(refusal: Refusal) -> B:
            if isinstance(refusal, StoreUnavailable):
                raise refusal
            if isinstance(busy, _Raise):
                raise timeout(key, refusal, wait)
            return busy

        return self.guard.run(lock.claim(), lambda _: job(), otherwise, wait=wait, beat=lock.beat)

    def locked(self, key: str) -> bool:
        """Whether anybody has the key now."""
        return self.holder(key) is not None

    def holder(self, key: str) -> Holding | None:
        """Who has the key now: owner, fence and remaining seconds."""
        return self._inspects.inspect(require_name(key))

    def list(self, pattern: str = "*") -> list[Holding]:
        """The keys taken now, sorted, those that match the glob."""
        return sorted(self._inspects.list(pattern))

    def force_release(self, key: str) -> bool:
        """Free a key whoever has it; False when it was free. The holder's work goes on without its lock."""
        return self._inspects.force_release(require_name(key))

    def restore(self, key: str, owner: str) -> Lock:
        """Take up a lock acquired elsewhere, by its owner's name. Raises `LockNotOwned` when that owner has it not."""
        if self.store.in_connection:
            raise LockConfigError(
                f"{key!r}: a lock of this store lives in its connection: it cannot be taken up elsewhere"
            )
        before = self.store.clock()
        holding = self.holder(key)
        if holding is None or holding.owner != owner:
            raise _not_owned(key, holding, "taken up")
        lock = self.lock(key, ttl=holding.remaining or 30.0)
        lock.adopt(Lease(lock.claim(owner), holding.fence, before + (holding.remaining or 0.0), self.store.clock))
        return lock

    def close(self) -> None:
        """Give back the store's connections. Leases are not released."""
        self.store.close()

    @property
    def _inspects(self) -> Inspects:
        if isinstance(self.store, Inspects):
            return self.store
        raise LockConfigError(f"{type(self.store).__name__} cannot show or force what it holds")


class Lock:
    """A lock on one key, used like `threading.Lock`. Not re-entrant: its own holder waits like everybody else."""

    def __init__(self, locks: Locks, key: str, *, ttl: float = 30.0, heartbeat: bool = False) -> None:
        where = f"lock {key!r}"
        self.key = _one_key(key)
        self.ttl = options.ttl("ttl", ttl, where)
        self.beat = options.beat_interval(self.ttl, heartbeat=heartbeat, where=where)
        self._locks = locks
        self._guard = locks.guard
        self._lease: Lease | None = None
        self._entered = threading.local()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - as threading.Lock
        """Take the key and say whether we have it. Blocks for ever, or at most `timeout` seconds."""
        outcome = self._acquire(_wait(blocking, timeout, self.key))
        return isinstance(outcome, Lease)

    def release(self) -> None:
        """Give the key back. Raises `LockNotOwned`, and changes nothing, when it is not ours."""
        lease = self._lease
        if lease is None:
            raise _not_owned(self.key, None, "released")
        if not self._guard.leave(lease):
            self._drop(lease)
            raise _not_owned(self.key, self._holder(), "released")
        self._drop(lease)

    def locked(self) -> bool:
        """Whether anybody has the key now."""
        return self._locks.locked(self.key)

    def owned(self) -> bool:
        """Whether this lock has the key now, as far as the store knows."""
        lease = self._lease
        if lease is None or not lease.held():
            return False
        holding = self._locks.holder(self.key)
        return holding is not None and holding.owner == lease.owner

    def renew(self, ttl: float | None = None) -> None:
        """Extend the lease, to `ttl` seconds from now if given. Raises `LockLost` when it is no longer ours."""
        lease = self._lease
        if lease is None:
            raise _not_owned(self.key, None, "renewed")
        lease.renew(None if ttl is None else options.ttl("ttl", ttl, f"lock {self.key!r}"))

    @property
    def lease(self) -> Lease | None:
        """The lease this lock holds or has lost; None when it was not acquired or is released."""
        return self._lease

    @property
    def remaining(self) -> float | None:
        """Seconds the lease lasts without renewal; 0.0 when not held; None where locks have no ttl."""
        return self._lease.remaining if self._lease else 0.0

    @property
    def owner(self) -> str | None:
        """The name under which this lock holds its key: what `Locks.restore` takes."""
        return self._lease.owner if self._lease else None

    @property
    def fence(self) -> int | None:
        """The number that orders this holder among all holders of the key."""
        return self._lease.fence if self._lease else None

    def claim(self, owner: str | None = None) -> Claim:
        """What is asked of the store: a new owner each time it is asked."""
        return Claim(self.key, owner or new_owner(), self.ttl)

    def adopt(self, lease: Lease) -> None:
        """Take up a lease that exists already."""
        lease.renewer = self._guard.renew
        lease.since = self._guard.store.clock()
        self._lease = lease

    def __enter__(self) -> Lease:
        lease = self._acquire(None)
        if isinstance(lease, Busy):
            raise timeout(self.key, lease, 0.0)
        self._entered.__dict__.setdefault("leases", []).append(lease)
        return lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lease: Lease = self._entered.leases.pop()
        ours = self._guard.ended(lease)
        self._drop(lease)
        if not ours and error is None:
            raise lease.loss()

    def _acquire(self, wait: float | None) -> Lease | Busy:
        claim = self.claim()
        try:
            outcome = self._guard.enter(claim, wait=wait, beat=self.beat)
            if isinstance(outcome, Lease):
                self._lease = outcome
        except BaseException as error:
            self._guard.interrupted(claim, error)
            raise
        return outcome

    def _drop(self, lease: Lease) -> None:
        if self._lease is lease:
            self._lease = None

    def _holder(self) -> Holding | None:
        store = self._locks.store
        return store.inspect(self.key) if isinstance(store, Inspects) else None

    def __repr__(self) -> str:
        return f"<Lock {self.key!r}: {self._lease or 'not held'}>"


_of_app: weakref.WeakKeyDictionary[Any, dict[str | None, Locks]] = weakref.WeakKeyDictionary()


def _one_key(key: object) -> str:
    if isinstance(key, (list, tuple)):
        raise LockConfigError(f"several keys in one lock, {key!r}, are not supported in this version: lock one key")
    return require_name(key)


def _wait(blocking: bool, timeout: float | None, key: str) -> float | None:  # noqa: FBT001 - as threading.Lock
    if not blocking:
        if timeout is not None:
            raise LockConfigError(f"lock {key!r}: a timeout makes no sense with blocking=False; leave one out")
        return 0.0
    return None if timeout is None else options.seconds("timeout", timeout, f"lock {key!r}")


def timeout(key: str, busy: Busy, waited: float) -> LockTimeout:
    """The error for a key that stayed taken."""
    by = f"held by {busy.holder}" if busy.holder else "taken"
    after = f" after {waited:g} s" if waited else ""
    return LockTimeout(f"{key!r} is {by}{after}: try later, or wait longer", key, busy.holder)


def _not_owned(key: str, holding: Holding | None, verb: str) -> LockNotOwned:
    who = f"{holding.owner} has it" if holding else "this lock does not hold it"
    return LockNotOwned(
        f"{key!r} cannot be {verb}: {who}; if it was ours its lease ran out: use a longer ttl or heartbeat=True",
        key,
        holding.owner if holding else None,
    )
