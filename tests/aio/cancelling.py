"""What coroutines do that are cancelled, and when."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import TYPE_CHECKING, Any

from tests.aio.conftest import PATIENCE, until

if TYPE_CHECKING:
    import pytest

    from celery_locks import Locks


async def later(steps: int, tenth: float = 0.0001) -> None:
    """Let the loop go round so often; from ten on, let so many tenths of a millisecond pass."""
    if steps < 10:
        for _ in range(steps):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep((steps - 10) * tenth)


async def uses(locks: Locks, key: str) -> None:
    async with locks.alock(key, ttl=60):
        await asyncio.sleep(0.0005)


async def takes(locks: Locks, key: str) -> None:
    lock = locks.alock(key, ttl=60)
    if await lock.acquire(timeout=0.002):
        try:
            await asyncio.sleep(0)
        finally:
            await lock.release()


async def runs(locks: Locks, key: str) -> None:
    async def job() -> None:
        await asyncio.sleep(0.0003)

    await locks.arun(key, job, wait=0.003, ttl=60, heartbeat=True, busy=None)


async def within_a_time(locks: Locks, key: str) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(uses(locks, key), random.random() / 500)


#: What they do with a lock.
WORKS = [uses, takes, runs, within_a_time]


class Held:
    """Keeps a verb of a store under way until it is let go."""

    def __init__(self, locks: Locks, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.calls = 0
        plain = getattr(locks.store, verb)

        def held(*given: Any) -> Any:
            answer = plain(*given)
            self.calls += 1
            self.begun.set()
            assert self.go.wait(PATIENCE)
            return answer

        monkeypatch.setattr(locks.store, verb, held)

    async def until_begun(self) -> None:
        await until(self.begun.is_set, "the verb to be under way")
