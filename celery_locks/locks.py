"""Locks for plain code: web requests, scripts, anything that is not a job of its own."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from celery_locks import config, duration, options
from celery_locks.asking import keys_of, not_owned, timeout
from celery_locks.crowd import crowds, held_by, holders, inspects
from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.guard import Guard
from celery_locks.lease import Busy, Lease
from celery_locks.lock import Lock
from celery_locks.stores import DEFAULT_PREFIX, Store, open_store
from celery_locks.stores.naming import require_name
from celery_locks.stores.several import joined

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from celery_locks.aio import AsyncLock, OnLost
    from celery_locks.asking import Keys
    from celery_locks.guard import Refusal
    from celery_locks.lease import Claim, Holding

T = TypeVar("T")
B = TypeVar("B")


class _Raise:
    def __repr__(self) -> str:
        return "raise LockTimeout"


RAISE: Final = _Raise()


_of_app: weakref.WeakKeyDictionary[Any, dict[str | None, Locks]] = weakref.WeakKeyDictionary()


class Locks:
    """The locks of one store."""

    def __init__(self, store: str | Store, *, prefix: str = DEFAULT_PREFIX, **settings: Any) -> None:
        if not isinstance(prefix, str):
            raise LockConfigError(f"prefix must be a text, not {prefix!r}")
        if isinstance(store, Store):
            self.store = _as_it_is(store, prefix, settings)
        else:
            self.store = open_store(store, prefix=prefix, options=settings)
        self.guard = Guard(self.store)

    @classmethod
    def from_app(cls, app: Any, alias: str | None = None) -> Locks:
        """The locks of a Celery app's store, or of another one it names in `lock_stores`; made once an app."""
        # `current_app` stands for another app at another time.
        app = getattr(app, "_get_current_object", lambda: app)()
        known = _of_app.setdefault(app, {})
        if alias not in known:
            # Of two threads that come here at once one wins; nothing is connected yet.
            known.setdefault(alias, cls.opened(app, alias))
        return known[alias]

    @classmethod
    def opened(cls, app: Any, alias: str | None = None) -> Locks:
        """New locks of a Celery app's store, not yet connected."""
        url, prefix, settings, where = config.store_settings(app.conf, alias)
        try:
            return cls(url, prefix=prefix, **settings)
        except LockConfigError as error:
            raise LockConfigError(f"{where}: {error}") from None

    def lock(  # noqa: PLR0913 - settings, by name
        self,
        key: Keys,
        *,
        ttl: float = 30.0,
        heartbeat: bool = False,
        slots: int = 1,
        shared: bool = False,
        at_least: float = 0.0,
    ) -> Lock:
        """A lock on a key, or on several, not yet taken. It ends after `ttl` seconds unless renewed by `heartbeat`.

        With `slots` so many may hold the key at a time. With `shared` it only reads: it holds the key together with
        others that do, and not with one that does not. The key stays taken for `at_least` so many seconds after it
        was, also when it is released before.
        """
        kind: Any = {"slots": slots, "shared": shared, "at_least": at_least}
        return Lock(self.guard, key, ttl=ttl, heartbeat=heartbeat, **kind)

    def run(  # noqa: PLR0913 - a call that says how, by name
        self,
        key: Keys,
        job: Callable[[], T],
        *,
        ttl: float = 30.0,
        wait: float = 0.0,
        heartbeat: bool = False,
        slots: int = 1,
        shared: bool = False,
        at_least: float = 0.0,
        busy: B | _Raise = RAISE,
    ) -> T | B:
        """Do the work under a lock and give its result.

        Raises `LockTimeout` when the key is still taken after `wait` seconds, or gives `busy` if that was named.
        Raises `LockLost` when the work is done but outlived its lease.
        """
        if not callable(job):
            kind = type(job).__name__
            raise LockConfigError(f"lock {key!r}: the job must be a callable, not of type {kind}: write job, not job()")
        lock = self.lock(key, ttl=ttl, heartbeat=heartbeat, slots=slots, shared=shared, at_least=at_least)
        wait = duration.seconds("wait", wait, f"lock {key!r}")

        def otherwise(refusal: Refusal) -> B:
            if isinstance(refusal, StoreUnavailable):
                raise refusal
            if isinstance(busy, _Raise):
                raise timeout(refusal.key or lock.key, refusal, wait)
            return busy

        return self.guard.run(lock.claim(), lambda _: job(), otherwise, wait=wait, beat=lock.beat)

    def alock(  # noqa: PLR0913 - settings, by name
        self,
        key: Keys,
        *,
        ttl: float = 30.0,
        heartbeat: bool = False,
        slots: int = 1,
        shared: bool = False,
        at_least: float = 0.0,
        on_lost: OnLost = "flag",
    ) -> AsyncLock:
        """A lock for coroutines, not yet taken: `async with locks.alock(key)`, with all that `lock` takes.

        With `on_lost="raise"` the body is stopped at its next await when its lease is lost, by `LockLost`.
        """
        from celery_locks.aio import AsyncLock  # noqa: PLC0415 - asyncio is for those who use it

        lock = self.lock(key, ttl=ttl, heartbeat=heartbeat, slots=slots, shared=shared, at_least=at_least)
        return AsyncLock(self.guard, lock, on_lost)

    async def arun(  # noqa: PLR0913 - a call that says how, by name
        self,
        key: Keys,
        job: Callable[[], Awaitable[T]],
        *,
        ttl: float = 30.0,
        wait: float = 0.0,
        heartbeat: bool = False,
        slots: int = 1,
        shared: bool = False,
        at_least: float = 0.0,
        on_lost: OnLost = "flag",
        busy: B | _Raise = RAISE,
    ) -> T | B:
        """Do the work of a coroutine function under a lock, as `run` does."""
        from celery_locks.aio import run  # noqa: PLC0415 - asyncio is for those who use it

        kind: Any = {"slots": slots, "shared": shared, "at_least": at_least}
        lock = self.alock(key, ttl=ttl, heartbeat=heartbeat, on_lost=on_lost, **kind)
        wait = duration.seconds("wait", wait, f"lock {key!r}")
        result = await run(lock, job, wait)
        if not isinstance(result, Busy):
            return result
        if isinstance(busy, _Raise):
            raise timeout(result.key or lock.key, result, wait)
        return busy

    def locked(self, key: Keys) -> bool:
        """Whether anybody has the key now; of several, any of them."""
        return self.holder(key) is not None

    def holder(self, key: Keys) -> Holding | None:
        """Who has the key now: owner, fence and remaining seconds. Of several who share it, who came first.

        Of several keys, the first that is taken.
        """
        return next(filter(None, self._holdings(keys_of(key))), None)

    def holders(self, key: str) -> list[Holding]:
        """All who have the key now, those who came first before the others."""
        return holders(self.store, require_name(key))

    def slots(self, key: str) -> int | None:
        """How many slots the key was given by `set_slots`; None when each claim says it itself."""
        return crowds(self.store, f"lock {key!r}").slots(require_name(key))

    def set_slots(self, key: str, slots: int | None) -> None:
        """From now on so many may hold the key together, whatever their tasks and locks say; None: as they say again.

        Holders over the new number keep what they have. Locks that want the key alone stay alone: this is for those
        that are made with two `slots` or more.
        """
        where = f"lock {key!r}"
        slots = slots if slots is None else options.slots_of("slots", slots, where)
        crowds(self.store, where).set_slots(require_name(key), slots)

    def list(self, pattern: str = "*") -> list[Holding]:
        """The keys taken now, sorted, those that match the glob."""
        if not isinstance(pattern, str):
            raise LockConfigError(f"the pattern must be a text such as 'wallet:*', not {pattern!r}")
        return sorted(inspects(self.store).list(pattern))

    def force_release(self, key: str) -> bool:
        """Free a key whoever has it; False when it was free. The work of all its holders goes on without their lock."""
        return inspects(self.store).force_release(require_name(key))

    def restore(self, key: Keys, owner: str) -> Lock:
        """Take up a lock acquired elsewhere, by its owner's name. Raises `LockNotOwned` when that owner has it not."""
        if self.store.in_connection:
            raise LockConfigError(
                f"{key!r}: a lock of this store lives in its connection: it cannot be taken up elsewhere"
            )
        before = self.store.clock()
        found = self._owned(self.lock(key).claim(owner))
        lock = self.lock(key, ttl=min(each.remaining or 0.0 for each in found) or 30.0)
        claim, clock = lock.claim(owner), self.store.clock
        parts = [Lease(claim.of(each.key), each.fence, before + (each.remaining or 0.0), clock) for each in found]
        lock.adopt(joined(claim, parts, self.store))
        return lock

    def _owned(self, claim: Claim) -> tuple[Holding, ...]:
        found: tuple[Holding, ...] = ()
        for key in claim.keys:
            holding = held_by(self.store, key, claim.owner)
            if holding is None:
                raise not_owned(claim, self.holder(key), "taken up")
            found += (holding,)
        return found

    def _holdings(self, keys: Iterable[str]) -> Iterator[Holding | None]:
        return map(inspects(self.store).inspect, keys)

    def close(self) -> None:
        """Give back the store's connections. Leases are not released."""
        self.store.close()


def _as_it_is(store: Store, prefix: str, settings: dict[str, Any]) -> Store:
    if settings or prefix not in (DEFAULT_PREFIX, store.prefix):
        given = ", ".join([f"prefix={prefix!r}"] * (prefix != DEFAULT_PREFIX) + sorted(settings))
        raise LockConfigError(f"Locks was given a store that is made already, and {given}: give that to the store")
    return store
