"""What a test of coroutines may ask for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks import Locks
from celery_locks.aio import hands
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.servers.redis import RedisServer

#: No test waits longer for anything.
PATIENCE = 30.0


@pytest.fixture
def locks(redis_url: str) -> Iterator[Locks]:
    """The locks of a real Redis."""
    made = Locks(redis_url)
    yield made
    made.close()


@pytest.fixture
def left(redis_server: RedisServer) -> Callable[[str], list[str]]:
    """What is at the server for a key besides its last fence, once all that was asked for is done."""

    def show(key: str) -> list[str]:
        settle()
        names = [f"lock:{{{key}}}", f"lock:{{{key}}}:line", f"lock:{{{key}}}:homes"]
        return [name for name in names if redis_server.ask("EXISTS", name)]

    return show


def settle() -> None:
    """Wait until the threads have done all that they were asked for."""
    for made in hands._mine:
        for asked in made._asked:
            done = threading.Event()
            asked.put(done.set)
            assert done.wait(PATIENCE)


def run(work: Awaitable[Any] | Callable[[], Awaitable[Any]]) -> Any:
    """Do it in a loop of its own, in a bounded time."""

    async def bounded() -> Any:
        return await asyncio.wait_for(work() if callable(work) else work, PATIENCE)

    return asyncio.run(bounded())


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something in a loop."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not condition():
        assert loop.time() < deadline, f"waited for {what}"
        await asyncio.sleep(0.005)


async def in_line(redis_server: RedisServer, key: str, count: int) -> None:
    """Until so many are in line for a key."""
    await until(lambda: redis_server.ask("ZCARD", f"lock:{{{key}}}:line") == count, f"{count} in line for {key}")


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel it and wait for its end."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


__all__ = ["PATIENCE", "cancelled", "in_line", "run", "settle", "until", "wait_until"]
