"""A lock on a key, or on several, used like `threading.Lock`."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from celery_locks import duration, options
from celery_locks.asking import can_stay, keys_of, longest, not_owned, timeout
from celery_locks.crowd import crowds, held_by, inspects
from celery_locks.errors import LockError
from celery_locks.lease import Busy, Claim, Lease, State, new_owner
from celery_locks.surely import surely
from celery_locks.tenure import Tenure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from celery_locks.asking import Keys
    from celery_locks.guard import Guard
    from celery_locks.lease import Holding


class Lock(Tenure):
    """A lock on a key, used like `threading.Lock`. Not re-entrant: its own holder waits like everybody else.

    Or on several keys: it has all of them or none.

    With `slots` so many may hold the key at a time; with `shared` all may who also share it.
    Threads may share it. What one thread took another may release, as long as it has taken nothing by it itself.
    """

    def __init__(  # noqa: PLR0913 - settings, by name
        self,
        guard: Guard,
        key: Keys,
        *,
        ttl: float = 30.0,
        heartbeat: bool = False,
        slots: int = 1,
        shared: bool = False,
        at_least: float = 0.0,
    ) -> None:
        where = f"lock {key!r}"
        #: All its keys, sorted; `key` is the first.
        self.keys = keys_of(key)
        self.key = self.keys[0]
        self.slots, self.shared = options.kind_of(slots, shared, where)
        if slots > 1 or shared:
            crowds(guard.store, where)
        self.ttl = duration.ttl("ttl", ttl, where)
        self.beat = options.beat_interval(self.ttl, heartbeat=heartbeat, where=where)
        self.at_least = can_stay(guard.store, duration.seconds("at_least", at_least, where), where)
        self._guard = guard
        self._lease: Lease | None = None
        self._mine = _OfThread()
        #: The bodies of `with` that it is around, each with the thread that began it.
        self._entered: list[tuple[int, Lease]] = []

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - as threading.Lock
        """Take the key and say whether we have it. Blocks for ever, or at most `timeout` seconds."""
        claim = self.claim()
        wait = longest(blocking, timeout, claim)
        try:
            return isinstance(self._acquire(claim, wait), Lease)
        except BaseException as error:
            surely(self._undo, claim, error)
            raise

    def release(self) -> None:
        """Give the key back. Raises `LockNotOwned`, and changes nothing, when it is not ours."""
        lease = self.lease
        if lease is None or lease.state is State.RELEASED:
            # By another thread, in the second case.
            self._mine.lease = None
            raise not_owned(self.claim(), None, "released")
        if not surely(self._guard.leave, lease):
            self._drop(lease)
            raise not_owned(self.claim(), self.seen(lease.owner), "released")
        self._drop(lease)

    def locked(self) -> bool:
        """Whether anybody has the key now; of several, any of them."""
        return any(self._holdings())

    def owned(self) -> bool:
        """Whether this lock has the key now, as far as the store knows."""
        lease = self.lease
        if lease is None or not lease.held():
            return False
        return self.is_had_by(lease.owner)

    def is_had_by(self, owner: str) -> bool:
        """Whether this owner has all its keys now, as far as the store knows."""
        return all(held_by(self._guard.store, key, owner) for key in self.keys)

    def renew(self, ttl: float | None = None) -> None:
        """Extend the lease, to `ttl` seconds from now if given. Raises `LockLost` when it is no longer ours."""
        lease = self.lease
        if lease is None:
            raise not_owned(self.claim(), None, "renewed")
        lease.renew(None if ttl is None else duration.ttl("ttl", ttl, f"lock {self.claim().shown}"))

    @property
    def lease(self) -> Lease | None:
        """The lease this lock holds or has lost; None when it was not acquired or is released.

        To a thread that has acquired it, its own: not that of another one that took the key when the first was lost.
        """
        return self._mine.lease if self._mine.has_acquired else self._lease

    def claim(self, owner: str | None = None) -> Claim:
        """What is asked of the store: a new owner each time it is asked."""
        kind = (self.slots, self.shared, self.keys[1:], self.at_least)
        return Claim(self.key, owner or new_owner(), self.ttl, None, None, None, *kind)

    def adopt(self, lease: Lease) -> None:
        """Take up a lease that exists already."""
        lease.renewer = self._guard.renew
        lease.since = self._guard.store.clock()
        self._keep(lease)

    def __enter__(self) -> Lease:
        claim = self.claim()
        try:
            lease = self._acquire(claim, None)
            if isinstance(lease, Busy):
                raise timeout(lease.key or self.key, lease, 0.0)  # noqa: TRY301 - nothing may strike between here and the body
            self._entered.append((threading.get_ident(), lease))
        except BaseException as error:
            surely(self._undo, claim, error)
            raise
        return lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        inmost, ours = surely(self._left)
        lease = inmost[1]
        self._entered.remove(inmost)
        self._drop(lease)
        if not ours and error is None:
            raise lease.loss()

    def _acquire(self, claim: Claim, wait: float | None) -> Lease | Busy:
        outcome = self._guard.enter(claim, wait=wait, beat=self.beat)
        if isinstance(outcome, Lease):
            self._keep(outcome)
        return outcome

    def _undo(self, claim: Claim, error: BaseException) -> None:
        self._guard.interrupted(claim, error)
        # By its owner: the claim that was asked with may have been given a ticket on the way.
        for entered in [each for each in [*self._entered] if each[1].owner == claim.owner]:
            self._entered.remove(entered)
        lease = self._mine.lease
        if lease and lease.owner == claim.owner:
            self._drop(lease)

    def _left(self) -> tuple[tuple[int, Lease], bool]:
        """The body that ends here, and whether its lease was ours to give back.

        It is this thread's. One in a generator may have begun in another thread, and end here.
        """
        entered = [*self._entered]
        inmost = ([each for each in entered if each[0] == threading.get_ident()] or entered)[-1]
        return inmost, self._guard.ended(inmost[1])

    def _keep(self, lease: Lease) -> None:
        self._lease = self._mine.lease = lease
        self._mine.has_acquired = True

    def _drop(self, lease: Lease) -> None:
        if self._lease is lease:
            self._lease = None
        if self._mine.lease is lease:
            self._mine.lease = None

    def _holdings(self) -> Iterator[Holding | None]:
        return map(inspects(self._guard.store).inspect, self.keys)

    def seen(self, owner: str) -> Holding | None:
        """Who has one of the keys instead."""
        with contextlib.suppress(LockError):
            return next((each for each in self._holdings() if each and each.owner != owner), None)
        return None

    def __repr__(self) -> str:
        return f"<Lock {self.claim().shown}: {self.lease or 'not held'}>"


class _OfThread(threading.local):
    """What one thread has taken by a lock that several may share."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.has_acquired = False
