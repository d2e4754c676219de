"""Locks for coroutines. They wait in their loop, and a few threads speak to the stores for all of them."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from celery_locks import duration
from celery_locks.aio.body import Body
from celery_locks.aio.hands import mine
from celery_locks.aio.waiting import Try
from celery_locks.asking import longest, not_owned, timeout
from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.lease import Busy, Lease, State
from celery_locks.tenure import Tenure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from celery_locks.guard import Guard
    from celery_locks.lease import Holding
    from celery_locks.lock import Lock

T = TypeVar("T")
OnLost: TypeAlias = Literal["flag", "raise"]


class AsyncLock(Tenure):
    """A lock on a key, or several, used like `asyncio.Lock`. Not re-entrant: its own holder waits like everybody else.

    Tasks may share it, also those of several loops. What one task took another may release, as long as it has taken
    nothing by it itself. Whoever is cancelled while it waits, takes or releases leaves nothing at the store.
    """

    def __init__(self, guard: Guard, lock: Lock, on_lost: OnLost = "flag") -> None:
        if on_lost not in ("flag", "raise"):
            raise LockConfigError(f"lock {lock.claim().shown}: on_lost must be one of 'flag', 'raise', not {on_lost!r}")
        self.keys, self.key, self.ttl = lock.keys, lock.key, lock.ttl
        self._shown = lock.claim().shown
        self._guard = guard
        self._plain = lock
        self._on_lost = on_lost
        self._lease: Lease | None = None
        #: What each task has taken by it.
        self._taken: weakref.WeakKeyDictionary[asyncio.Task[Any], Lease | None] = weakref.WeakKeyDictionary()
        self._bodies: list[Body] = []

    async def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - as threading.Lock
        """Take the key and say whether we have it. Waits for ever, or at most `timeout` seconds."""
        outcome = await self._try().take(longest(blocking, timeout, self._plain.claim()))
        if isinstance(outcome, Lease):
            self._keep(outcome)
        return isinstance(outcome, Lease)

    async def release(self) -> None:
        """Give the key back, also when cancelled meanwhile. Raises `LockNotOwned` when it is not ours."""
        lease = self.lease
        if lease is None or lease.state is State.RELEASED:
            self._drop(lease)
            raise not_owned(self._plain.claim(), None, "released")
        # One who is cancelled here does not have it any more either.
        self._drop(lease)
        try:
            ours = await mine().done(self.key, partial(self._guard.leave, lease))
        except StoreUnavailable:
            self._keep(lease)
            raise
        if not ours:
            raise not_owned(self._plain.claim(), await self._seen(lease.owner), "released")

    async def locked(self) -> bool:
        """Whether anybody has the key now; of several, any of them."""
        return await mine().done(self.key, self._plain.locked)

    async def owned(self) -> bool:
        """Whether this lock has the key now, as far as the store knows."""
        lease = self.lease
        if lease is None or not lease.held():
            return False
        return await mine().done(self.key, partial(self._plain.is_had_by, lease.owner))

    async def renew(self, ttl: float | None = None) -> None:
        """Extend the lease, to `ttl` seconds from now if given. Raises `LockLost` when it is no longer ours."""
        lease = self.lease
        if lease is None:
            raise not_owned(self._plain.claim(), None, "renewed")
        seconds = None if ttl is None else duration.ttl("ttl", ttl, f"lock {self._shown}")
        await mine().done(self.key, partial(lease.renew, seconds))

    @property
    def lease(self) -> Lease | None:
        """The lease this lock holds or has lost; None when it was not acquired or is released.

        To a task that has acquired it, its own: not that of another one that took the key when the first was lost.
        """
        task = _task()
        return self._taken[task] if task is not None and task in self._taken else self._lease

    async def __aenter__(self) -> Lease:
        outcome = await self.entered(None)
        if isinstance(outcome, Busy):
            raise timeout(outcome.key or self.key, outcome, 0.0)
        return outcome

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is GeneratorExit:
            # Its loop has left it behind, or is gone: nothing can be awaited here.
            self._collected()
            return
        body = self._inmost()
        ending = self._left(body)
        body.ends()
        try:
            ours = await body.hands.done(self.key, ending)
        except asyncio.CancelledError:
            if not body.was_stopped(error):
                raise
            ours = False
        if (not ours and error is None) or (body.is_stopped and isinstance(error, asyncio.CancelledError)):
            raise body.lease.loss() from error

    async def entered(self, wait: float | None) -> Lease | Busy:
        """Take the key for a body, which `__aexit__` ends, waiting at most so long."""
        body = Body(_my_task())
        outcome = await self._try(body.lost if self._on_lost == "raise" else None).take(wait)
        if isinstance(outcome, Lease):
            self._keep(outcome)
            self._bodies.append(body)
            body.begins(outcome)
        return outcome

    def _left(self, body: Body) -> Callable[[], bool]:
        self._bodies.remove(body)
        self._drop(body.lease)
        return partial(self._guard.ended, body.lease)

    def _collected(self) -> None:
        """End a body that is thrown away as it is, or that of a generator that is closed, in any task or none."""
        body = next((body for body in [*self._bodies] if body.is_forgotten()), None) or self._inmost()
        ending = self._left(body)
        if body.is_of(_task()):
            body.ends()
        body.hands.do(self.key, ending)

    def _inmost(self) -> Body:
        """The body that ends here. One in a generator may have begun in another task, which may be gone by now."""
        bodies = [*self._bodies]
        mine = [body for body in bodies if body.is_of(_task())]
        return (mine or [body for body in bodies if body.is_forgotten()] or bodies)[-1]

    def _try(self, on_lost: Callable[[Lease], None] | None = None) -> Try:
        return Try(self._guard, self._plain.claim(), self._plain.beat, on_lost)

    def _keep(self, lease: Lease) -> None:
        self._lease = self._taken[_my_task()] = lease

    def _drop(self, lease: Lease | None) -> None:
        if self._lease is lease:
            self._lease = None
        task = _task()
        if task is not None and task in self._taken and self._taken[task] in (lease, None):
            self._taken[task] = None

    async def _seen(self, owner: str) -> Holding | None:
        return await mine().done(self.key, partial(self._plain.seen, owner))

    def __repr__(self) -> str:
        return f"<AsyncLock {self._shown}: {self.lease or 'not held'}>"


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _my_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a lock for coroutines is taken and released in a task")
    return task


class Held:
    """A body of a lock that was entered by hand."""

    def __init__(self, lock: AsyncLock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._lock.__aexit__(kind, error, trace)


async def run(lock: AsyncLock, job: Callable[[], Awaitable[T]], wait: float) -> T | Busy:
    """What a job gives that is done under a lock, or who has its key."""
    if not callable(job):
        if inspect.iscoroutine(job):
            job.close()
        raise LockConfigError(f"lock {lock.key!r}: the job must be a coroutine function: write job, not job()")
    outcome = await lock.entered(wait)
    if isinstance(outcome, Busy):
        return outcome
    async with Held(lock):
        doing = job()
        if not inspect.isawaitable(doing):
            raise LockConfigError(f"lock {lock.key!r}: the job must be a coroutine function: write async def")
        return await doing
