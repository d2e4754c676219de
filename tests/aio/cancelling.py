"""What coroutines do that are cancelled, and when."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.aio.conftest import PATIENCE, cancelled, run, until

if TYPE_CHECKING:
    from collections.abc import Callable

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


class Mixed:
    """Locks of which each is one of two slots, a reader's, or a writer's."""

    KINDS: ClassVar[list[dict[str, Any]]] = [{"slots": 2}, {"shared": True}, {}]

    def __init__(self, locks: Locks) -> None:
        self._locks = locks

    def alock(self, key: str, **how: Any) -> Any:
        return self._locks.alock(key, **random.choice(self.KINDS), **how)

    def arun(self, key: str, job: Any, **how: Any) -> Any:
        return self._locks.arun(key, job, **random.choice(self.KINDS), **how)


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


class CancelledWhileAsked:
    """Whoever is cancelled while the store has not answered leaves no key taken; `left` tells of a key."""

    @pytest.mark.parametrize("times", [1, 2])
    def test_while_the_key_is_being_taken(
        self, locks: Locks, left: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch, times: int
    ) -> None:
        """It goes at once, though the store has not answered; what the answer gives is given back when it comes."""

        async def work() -> None:
            held = Held(locks, "acquire", monkeypatch)
            task = asyncio.ensure_future(locks.alock("a", ttl=60, heartbeat=True).acquire())
            await held.until_begun()
            for _ in range(times):
                await cancelled(task)
            assert task.cancelled()
            assert locks.locked("a")
            held.go.set()

        run(work)
        assert left("a") == []
        assert locks.guard.keeper._watched == {}

    def test_while_the_key_is_being_given_back(
        self, locks: Locks, left: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At the end of a body and in `release`: it is given back all the same."""

        async def ends_body(key: str) -> None:
            async with locks.alock(key, ttl=60):
                pass

        async def releases(key: str) -> None:
            lock = locks.alock(key, ttl=60)
            await lock.acquire()
            await lock.release()

        async def work() -> None:
            for number, work in enumerate((ends_body, releases)):
                held = Held(locks, "release", monkeypatch)
                task = asyncio.ensure_future(work(f"given{number}"))
                await held.until_begun()
                await cancelled(task)
                assert task.cancelled()
                held.go.set()

        run(work)
        assert left("given0") + left("given1") == []
