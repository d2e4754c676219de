"""What a child that is forked in the middle of it all does, and leaves alone."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

from tests.aio.conftest import in_line, run, settle
from tests.unit.fakes import in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks import Locks
    from tests.servers.redis import RedisServer


def test_it_works_in_a_child_that_is_forked_after_use(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """Its threads are its own: it takes and waits as its parent did, and the parent goes on."""
    shared = locks.alock("a", ttl=60)

    async def work() -> None:
        async with shared:
            task = asyncio.ensure_future(locks.alock("a", ttl=60).acquire())
            await asyncio.sleep(0.05)
        assert await task
        assert locks.force_release("a")

    run(work)
    assert in_child(lambda: run(work)) == 0
    run(work)
    assert left("a") == []


def test_a_child_gives_nothing_back_of_its_parents(locks: Locks, redis_server: RedisServer) -> None:
    """It has copies of coroutines that hold keys and wait in lines; collected as garbage there, they do nothing."""

    async def holds() -> None:
        async with locks.alock("a", ttl=60):
            await asyncio.sleep(60)

    async def child() -> None:
        async with locks.alock("b"):
            pass

    def collects(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # that is what is tried here
            task.get_coro().close()
        tasks.clear()
        gc.collect()
        # In a child of a running loop there is none.
        asyncio.events._set_running_loop(None)
        run(child)
        settle()

    async def work() -> None:
        tasks = [asyncio.ensure_future(holds()) for _ in range(2)]
        await in_line(redis_server, "a", 1)
        await asyncio.sleep(0.05)
        before = locks.holder("a")
        assert in_child(lambda: collects(tasks)) == 0
        assert locks.holder("a")[:3] == before[:3]
        await in_line(redis_server, "a", 1)

    run(work)
    settle()
    assert not locks.locked("a")
