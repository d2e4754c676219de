"""Whoever is cancelled, wherever and however often, leaves no key taken and no place in a line."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks import LockLost, Locks
from celery_locks.lease import State
from tests.aio.cancelling import WORKS, CancelledWhileAsked, Held, Mixed, later, uses
from tests.aio.conftest import PATIENCE, cancelled, in_line, run, settle, until, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.redis import RedisServer

#: How often a moment is tried out. With all of them a test takes some seconds.
TIMES = 300


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_at_any_moment(
    locks: Locks, left: Callable[[str], list[str]], work: Callable[[Locks, str], Awaitable[None]]
) -> None:
    """Alone and with others on the same key, once and twice, at moments swept over all that is done."""

    async def sweep() -> None:
        for number in range(TIMES):
            rivals = number % 3
            tasks = [asyncio.ensure_future(work(locks, "swept")) for _ in range(1 + rivals)]
            await later(number % 40)
            victim = tasks[number % len(tasks)]
            victim.cancel()
            if number % 2:
                await asyncio.sleep(0)
                victim.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(sweep)
    assert left("swept") == []


def test_with_slots_and_readers_at_any_moment(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """Nobody keeps a place among the holders, or in the line that all of them stand in."""
    mixed: Any = Mixed(locks)

    async def sweep() -> None:
        for number in range(TIMES):
            work = WORKS[number % len(WORKS)]
            tasks = [asyncio.ensure_future(work(mixed, "swept")) for _ in range(1 + number % 4)]
            await later(number % 40)
            tasks[number % len(tasks)].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(sweep)
    assert left("swept") == []


def test_many_at_once(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """Two hundred that come for three keys, each cancelled at a moment of its own or never."""

    async def one(number: int) -> None:
        task = asyncio.ensure_future(uses(locks, f"many{number % 3}"))
        if number % 4:
            await asyncio.sleep(random.random() / 10)
            task.cancel()
        await task

    async def work() -> None:
        await asyncio.gather(*(one(number) for number in range(200)), return_exceptions=True)

    run(work)
    assert [left(f"many{number}") for number in range(3)] == [[], [], []]


class TestWhileAsked(CancelledWhileAsked):
    """In Redis."""


def test_before_it_was_asked_for(
    locks: Locks, left: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its thread is busy with another: the store is never asked."""
    helds: list[Held] = []

    async def work() -> None:
        held = Held(locks, "acquire", monkeypatch)
        helds.append(held)
        first = asyncio.ensure_future(locks.alock("a", ttl=60).acquire())
        await held.until_begun()
        held.calls = 0
        waiting = [asyncio.ensure_future(locks.alock("a").acquire()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            await cancelled(task)
        held.go.set()
        assert await first

    run(work)
    settle()
    assert helds[0].calls == 0
    assert locks.force_release("a")
    assert left("a") == []


def test_in_line(locks: Locks, left: Callable[[str], list[str]], redis_server: RedisServer) -> None:
    """Those before and behind it come as if it had never been there."""
    order: list[int] = []

    async def one(number: int) -> None:
        async with locks.alock("a"):
            order.append(number)

    async def work() -> None:
        async with locks.alock("a"):
            tasks = []
            for number in range(6):
                tasks.append(asyncio.ensure_future(one(number)))
                await in_line(redis_server, "a", number + 1)
            for number in (0, 3, 5):
                await cancelled(tasks[number])
            await in_line(redis_server, "a", 3)
        await asyncio.gather(*tasks, return_exceptions=True)

    run(work)
    assert order == [1, 2, 4]
    assert left("a") == []


def test_while_the_store_is_told_that_it_is_there(
    locks: Locks, left: Callable[[str], list[str]], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on its way when it leaves does not put it in line again."""
    told, go = threading.Event(), threading.Event()
    plain = locks.store.attend  # type: ignore[attr-defined]  # that of Redis has lines

    def attend(waiting: Any, home: str = "") -> Any:
        if any(each.ticket for each in waiting):
            told.set()
            assert go.wait(PATIENCE)
        return plain(waiting, home)

    monkeypatch.setattr(locks.store, "attend", attend)

    async def work() -> None:
        async with locks.alock("a", ttl=60):
            # The first who waits in a process: what hears of its turn is only being made.
            task = asyncio.ensure_future(locks.alock("a").acquire())
            await until(told.is_set, "the store to be told of it")
            await cancelled(task)
            await asyncio.sleep(0.1)
            go.set()
            settle()
            await in_line(redis_server, "a", 0)

    run(work)
    assert left("a") == []


def test_a_turn_that_nobody_takes_goes_to_the_next(locks: Locks, redis_server: RedisServer) -> None:
    """One that is cancelled in the moment of its turn passes it on at once, not when the claim window is over."""

    async def work() -> None:
        for _ in range(30):
            holder = locks.alock("a")
            await holder.acquire()
            first, second = (asyncio.ensure_future(locks.alock("a", ttl=60).acquire()) for _ in range(2))
            await in_line(redis_server, "a", 2)
            await holder.release()
            await later(random.randrange(30))
            first.cancel()
            if (await asyncio.gather(first, return_exceptions=True))[0] is not True:
                assert await second
            else:
                assert locks.force_release("a")
                assert await second
            locks.force_release("a")

    run(work)


def test_a_loop_that_ends_with_coroutines_in_it(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """`asyncio.run` cancels them. A loop that is closed without that leaves them behind.

    The one that has the key is collected as garbage, and those in line are found gone when they are called.
    """

    async def holds() -> None:
        async with locks.alock("a", ttl=60):
            await asyncio.sleep(60)

    async def waits() -> None:
        async with locks.alock("a", ttl=60):
            pass

    async def work() -> list[asyncio.Task[None]]:
        tasks = [asyncio.ensure_future(each()) for each in (holds, waits, waits)]
        await until(lambda: locks.locked("a"), "the key to be taken")
        await asyncio.sleep(0.05)
        return tasks

    run(work)
    assert left("a") == []
    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(work())
    loop.set_exception_handler(lambda *_: None)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # that is what is tried here
    loop.close()
    del tasks, task
    gc.collect()
    wait_until(lambda: left("a") == [], "nothing to be left", PATIENCE)


def test_an_answer_for_a_loop_that_is_closed(
    locks: Locks, left: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can be told that the key was taken: it is given back at once."""
    held = Held(locks, "acquire", monkeypatch)
    loop = asyncio.new_event_loop()
    task = loop.create_task(locks.alock("a", ttl=60).acquire())
    loop.run_until_complete(held.until_begun())
    loop.close()
    held.go.set()
    settle()
    assert left("a") == []
    with contextlib.suppress(RuntimeError):
        task.get_coro().close()
    settle()
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # that is what is tried here


@pytest.mark.parametrize("lost_first", [True, False])
def test_a_body_that_is_stopped_and_cancelled(locks: Locks, lost_first: bool) -> None:  # noqa: FBT001 - a parameter
    """Whoever else has cancelled it is obeyed: it ends cancelled, as after `asyncio.timeout`."""
    bodies: list[Any] = []

    async def body() -> None:
        lock = locks.alock("a", ttl=60, on_lost="raise")
        async with lock as lease:
            bodies.append((lock._bodies[-1], lease))
            await asyncio.sleep(60)

    async def work() -> None:
        task = asyncio.ensure_future(body())
        await until(lambda: bodies, "the body to begin")
        stopped, lease = bodies[-1]
        lease.lose("forced")
        steps = [lambda: stopped.lost(lease), task.cancel]
        for step in steps if lost_first else reversed(steps):
            step()
        await asyncio.wait({task})
        assert task.cancelled()

    if hasattr(asyncio.Task, "uncancel"):
        run(work)


def test_a_body_that_ended_when_it_was_to_be_stopped(locks: Locks) -> None:
    """It had no await left: it hears of the loss at its end, and is not cancelled later."""

    async def work() -> None:
        lock = locks.alock("a", ttl=60, on_lost="raise")
        with pytest.raises(LockLost):  # noqa: PT012 - its end is what raises
            async with lock as lease:
                assert locks.force_release("a")
                lease.lose("forced")
                lock._bodies[-1]._stop()
        assert lease.state is State.LOST
        await asyncio.sleep(0)
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() > began

    run(work)
