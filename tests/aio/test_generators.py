"""A lock in an async generator, as a web handler's stream is one, is given back wherever and by whom that is ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING

import pytest

from celery_locks import LockError, current_lease
from tests.aio.conftest import cancelled, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from celery_locks import Locks
    from celery_locks.aio import AsyncLock

ROWS = 3


async def rows(lock: AsyncLock) -> AsyncGenerator[int, None]:
    """What is read under a lock."""
    async with lock:
        for row in range(ROWS):
            yield row


def a_lock(locks: Locks, key: str = "a") -> AsyncLock:
    # Its beats would keep it for ever.
    return locks.alock(key, ttl=2, heartbeat=True)


def test_closed_by_the_task_that_reads_it(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """By `aclosing`: after it the current lease is that of before."""

    async def work() -> None:
        async with a_lock(locks, "outer") as outer:
            async with contextlib.aclosing(rows(a_lock(locks))) as read:
                assert await anext(read) == 0
                assert current_lease().key == "a"
            assert current_lease() is outer

    run(work)
    assert left("a") == []


@pytest.mark.parametrize("how", ["break", "cancelled"])
def test_left_in_the_middle(locks: Locks, left: Callable[[str], list[str]], how: str) -> None:
    """Its loop closes it, in a task of its own: after a `break`, and when the client of a stream has gone."""

    async def reads() -> None:
        async for _ in rows(a_lock(locks)):
            if how == "break":
                return
            await asyncio.sleep(60)

    async def work() -> None:
        reader = asyncio.ensure_future(reads())
        if how == "cancelled":
            await until(lambda: locks.locked("a"), "the key to be taken")
            await asyncio.sleep(0)
            await cancelled(reader)
        else:
            await reader
        gc.collect()
        await until(lambda: not locks.locked("a"), "the key to be given back")

    run(work)
    assert left("a") == []


def test_left_by_a_task_that_goes_on(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """The one that reads does something else, and has no part in the end."""

    async def work() -> None:
        async for _ in rows(a_lock(locks)):
            break
        await until(lambda: not locks.locked("a"), "the key to be given back")

    run(work)
    assert left("a") == []


def test_each_step_in_a_task_of_its_own(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """As `wait_for` does it before Python 3.12: the lock is taken in one task, and given back in another."""

    async def work() -> None:
        read = rows(a_lock(locks))
        for row in range(ROWS):
            assert await asyncio.create_task(anext(read)) == row
        with pytest.raises(StopAsyncIteration):
            await asyncio.create_task(anext(read))

    run(work)
    assert left("a") == []


def test_begun_in_one_task_and_ended_in_another(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """As a fixture is: what ends it keeps a current lease of its own."""

    async def ends(stack: contextlib.AsyncExitStack) -> None:
        async with a_lock(locks, "own") as own:
            await stack.aclose()
            assert current_lease() is own

    async def work() -> None:
        stack = contextlib.AsyncExitStack()
        await asyncio.create_task(stack.enter_async_context(a_lock(locks)))
        await asyncio.create_task(ends(stack))
        with pytest.raises(LockError):
            current_lease()

    run(work)
    assert left("a") == []


def test_beside_others_that_share_the_lock(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """Who holds it by the same object keeps what it has."""
    lock = locks.alock("a", ttl=60, slots=3)

    async def work() -> None:
        async with lock as mine:
            async with contextlib.aclosing(rows(lock)) as read:
                await asyncio.create_task(anext(read))
                assert len(locks.holders("a")) == 2
            await until(lambda: len(locks.holders("a")) == 1, "the place of the one that was closed to be free")
            assert mine.held()
            assert [holder.owner for holder in locks.holders("a")] == [mine.owner]

    run(work)
    assert left("a") == []
