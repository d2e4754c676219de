"""What locks for coroutines cost their loop: no thread each, and no wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks, StoreUnavailable
from celery_locks.aio import waiting
from celery_locks.aio.hands import HANDS
from celery_locks.stores.memory import MemoryStore
from tests.aio.conftest import in_line, run, until
from tests.judging import Stay, faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.redis import RedisServer

MANY = 1000


def test_a_thousand_wait_for_one_key(locks: Locks, redis_server: RedisServer, left: Callable[[str], list[str]]) -> None:
    """In the order in which they came, and with no more threads than one of them has."""
    order: list[int] = []
    threads = [threading.active_count()]

    async def one(number: int) -> None:
        async with locks.alock("a"):
            order.append(number)

    async def work() -> None:
        async with locks.alock("a", ttl=60):
            tasks = [asyncio.ensure_future(one(number)) for number in range(MANY)]
            await in_line(redis_server, "a", MANY)
            threads.append(threading.active_count())
        await asyncio.gather(*tasks)

    run(work)
    assert order == list(range(MANY))
    # Besides those that speak, one that listens and one that looks after the line.
    assert threads[1] - threads[0] <= HANDS + 2
    assert left("a") == []


def test_a_store_that_hangs_does_not_hold_up_the_loop(locks: Locks, redis_server: RedisServer) -> None:
    """While takers, a holder and its releases wait for a frozen server, the loop goes on."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    async def work() -> None:
        ticking = asyncio.ensure_future(tick())
        lock = locks.alock("held", ttl=60)
        await lock.acquire()
        redis_server.pause()
        hanging = [
            asyncio.ensure_future(step)
            for step in (locks.alock("a").acquire(), lock.release(), lock.locked(), locks.alock("b").acquire(timeout=1))
        ]
        before = ticks
        done, _ = await asyncio.wait(hanging)
        for each in done:
            with pytest.raises(StoreUnavailable):
                each.result()
        # Each waits for two seconds: in a loop that waits with them there would be one for each at most.
        assert ticks - before > 50
        assert lock.lease is not None
        redis_server.resume()
        ticking.cancel()
        await lock.release()

    run(work)
    assert not locks.locked("held")


def test_two_loops_of_a_process(locks: Locks) -> None:
    """In two threads: their coroutines take turns, with one lock object or with several."""
    stays: list[Stay] = []
    shared = locks.alock("a", ttl=60)

    async def one(number: int) -> None:
        async with shared if number % 2 else locks.alock("a", ttl=60) as lease:
            begun = asyncio.get_running_loop().time()
            await asyncio.sleep(0.001)
            stays.append(Stay(begun, asyncio.get_running_loop().time(), lease.fence, str(number)))

    async def work() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    with ThreadPoolExecutor(2) as threads:
        for each in [threads.submit(run, work) for _ in range(2)]:
            each.result()
    assert len(stays) == 40
    assert faults(sorted(stays)) == []


def test_a_loop_that_is_gone_when_its_turn_comes(locks: Locks, redis_server: RedisServer) -> None:
    """Its call comes to nobody; those in another loop come all the same."""
    loop = asyncio.new_event_loop()
    assert locks.guard.waker

    async def waits() -> None:
        await until(locks.guard.waker.present, "one to wait")

    async def work() -> None:
        async with locks.alock("a", ttl=60):
            gone = loop.create_task(locks.alock("a").acquire())
            with ThreadPoolExecutor(1) as thread:
                await asyncio.wrap_future(thread.submit(loop.run_until_complete, waits()))
            loop.close()
            waiting = asyncio.ensure_future(locks.alock("a").acquire())
            await in_line(redis_server, "a", 2)
        assert await waiting
        gone._log_destroy_pending = False  # type: ignore[attr-defined]  # that is what is tried here
        with contextlib.suppress(RuntimeError):
            gone.get_coro().close()

    run(work)


def test_keys_that_were_waited_for_are_forgotten() -> None:
    """A loop that has taken many keys keeps nothing of them."""
    locks = Locks(MemoryStore())

    async def work() -> None:
        for number in range(50):
            assert await locks.alock(str(number)).acquire(timeout=5)
        assert waiting._rows.get(asyncio.get_running_loop(), {}) == {}

    run(work)
