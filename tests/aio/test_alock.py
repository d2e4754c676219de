"""Locks for coroutines do what plain locks do, on every kind of store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks import LockConfigError, LockError, LockLost, LockNotOwned, Locks, LockTimeout, current_lease, signals
from tests.aio.conftest import run, settle
from tests.unit.fakes import heard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORES = ["redis", "etcd", "sqlite", "postgres", "memory", "file", "advisory"]


@pytest.fixture(params=STORES)
def locks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Locks]:
    """The locks of each kind of store."""
    match request.param:
        case "sqlite":
            url = f"sql+sqlite:///{tmp_path}/locks.db"
        case "postgres":
            url = f"sql+{request.getfixturevalue('postgres_url')}"
        case "advisory":
            url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+advisory://")
        case "memory" | "file" as kind:
            url = f"{kind}://{tmp_path if kind == 'file' else ''}"
        case kind:
            url = request.getfixturevalue(f"{kind}_url")
    made = Locks(url)
    yield made
    settle()
    made.close()


def test_a_lock_is_taken_and_given_back(locks: Locks) -> None:
    """Its lease is the current one in the body, and the key is free after it."""

    async def work() -> None:
        async with locks.alock("a") as lease:
            assert current_lease() is lease
            assert lease.held()
            assert locks.holder("a").owner == lease.owner
            other = locks.alock("a")
            assert await other.locked()
            assert not await other.acquire(blocking=False)
            assert not await other.acquire(timeout=0.05)
            assert other.owner is None
        assert not await other.locked()
        with pytest.raises(LockError, match="no lease here"):
            current_lease()
        assert await other.acquire()
        assert await other.owned()
        assert other.fence > lease.fence
        await other.release()
        assert not locks.locked("a")

    run(work)


def test_those_who_wait_take_it_one_after_the_other(locks: Locks) -> None:
    """In the order in which they came, and never two at a time."""
    order: list[int] = []

    async def one(number: int) -> None:
        async with locks.alock("a"):
            before = len(order)
            await asyncio.sleep(0.001)
            assert len(order) == before
            order.append(number)

    async def work() -> None:
        async with locks.alock("a"):
            tasks = [asyncio.ensure_future(one(number)) for number in range(10)]
            await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)

    run(work)
    assert order == list(range(10))


def test_a_coroutine_function_is_run_under_a_lock(locks: Locks) -> None:
    """As `Locks.run` does: with its result, `busy` if the key is taken, `LockTimeout` without that."""

    async def job() -> str:
        return current_lease().key

    async def work() -> None:
        assert await locks.arun("a", job) == "a"
        async with locks.alock("a"):
            assert await locks.arun("a", job, busy="Processing") == "Processing"
            with pytest.raises(LockTimeout, match=r"'a' is held by .* after 0\.05 s"):
                await locks.arun("a", job, wait=0.05)
        assert await locks.arun("a", job, wait=5.0) == "a"

    run(work)
    assert not locks.locked("a")


def test_what_the_body_raises_is_raised(locks: Locks) -> None:
    """And the key is free."""

    async def job() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(lambda: locks.arun("a", job))
    assert not locks.locked("a")


def test_a_lease_that_was_lost_is_told_at_the_end(locks: Locks) -> None:
    """By LockLost, unless the body has raised. Whoever releases what is not his changes nothing."""

    async def work() -> None:
        with pytest.raises(LockLost):
            async with locks.alock("a"):
                locks.force_release("a")
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - its end is what raises
            async with locks.alock("b"):
                locks.force_release("b")
                raise ZeroDivisionError
        lock = locks.alock("c")
        await lock.acquire()
        locks.force_release("c")
        async with locks.alock("c") as lease:
            with pytest.raises(LockNotOwned, match=r"'c' cannot be released: .* has it"):
                await lock.release()
            assert lease.held()
        with pytest.raises(LockNotOwned):
            await lock.release()
        with pytest.raises(LockNotOwned):
            await lock.renew()

    run(work)


def test_a_lease_is_renewed_by_hand(redis_url: str) -> None:
    """For as long as is asked for."""

    async def work() -> None:
        lock = Locks(redis_url).alock("a", ttl=5)
        await lock.acquire()
        await lock.renew(60)
        assert 50 < lock.remaining <= 60
        await lock.release()
        assert lock.remaining == 0.0

    run(work)


def test_a_lease_with_a_heartbeat_is_kept(redis_url: str) -> None:
    """For more than two ttls, while the coroutine does nothing."""
    locks = Locks(redis_url)

    async def work() -> None:
        async with locks.alock("a", ttl=1.5, heartbeat=True) as lease:
            await asyncio.sleep(4)
            assert lease.held()
            assert locks.holder("a").owner == lease.owner

    run(work)


def test_a_body_is_stopped_when_its_lease_is_lost(redis_url: str) -> None:
    """on_lost="raise": at its next await, by LockLost. Its task is not cancelled after that, and can wait."""
    locks = Locks(redis_url)

    async def work() -> None:
        with pytest.raises(LockLost):  # noqa: PT012 - its end is what raises
            async with locks.alock("a", ttl=0.4, heartbeat=True, on_lost="raise"):
                locks.force_release("a")
                await asyncio.sleep(60)
        await asyncio.sleep(0.01)
        with pytest.raises(LockLost):
            await locks.arun("a", forced, ttl=0.4, heartbeat=True, on_lost="raise")
        await asyncio.sleep(0.01)

    async def forced() -> None:
        locks.force_release("a")
        await asyncio.sleep(60)

    run(work)


def test_tasks_share_a_lock(redis_url: str) -> None:
    """Each has a lease of its own; what one took another releases that has taken nothing by it."""
    locks = Locks(redis_url)
    held: list[str] = []

    async def work() -> None:
        lock = locks.alock("a")

        async def one() -> None:
            async with lock as lease:
                assert lock.lease is lease
                held.append(lease.owner)
                await asyncio.sleep(0)

        await asyncio.gather(*(one() for _ in range(5)))
        await lock.acquire()
        await asyncio.ensure_future(lock.release())
        assert not locks.locked("a")

    run(work)
    assert len(set(held)) == 5


def test_what_happens_is_told(redis_url: str) -> None:
    """By the signals that plain locks send."""
    locks = Locks(redis_url)

    async def work() -> None:
        async with locks.alock("a"):
            await locks.alock("a").acquire(timeout=0)

    with heard(signals.acquired, signals.contended, signals.released) as events:
        run(work)
    assert [type(event).__name__ for event in events] == ["Acquired", "Contended", "Released"]


def test_a_mistake_is_refused(redis_url: str) -> None:
    """With what to write."""
    locks = Locks(redis_url)

    def plain() -> int:
        return 1

    async def job() -> None: ...

    for given, said in ((plain, "write async def"), (job(), r"write job, not job\(\)"), (5, "write job, not")):
        with pytest.raises(LockConfigError, match=said):
            run(lambda given=given: locks.arun("a", given))
    with pytest.raises(LockConfigError, match="on_lost must be one of 'flag', 'raise', not 'kill'"):
        locks.alock("a", on_lost="kill")
    with pytest.raises(LockConfigError, match="at_least"):
        locks.alock("a", at_least=-1)
    with pytest.raises(LockConfigError, match="a timeout makes no sense with blocking=False"):
        run(lambda: locks.alock("a").acquire(blocking=False, timeout=5))
    assert not locks.locked("a")


def shown(lock: Any) -> str:
    return repr(lock)


def test_a_lock_is_shown_with_its_key(redis_url: str) -> None:
    """And whether it is held."""
    assert shown(Locks(redis_url).alock("a")) == "<AsyncLock 'a': not held>"


def test_several_keys_and_places_of_several(locks: Locks) -> None:
    """All keys or none, and who wants a key that is free does not wait for one that wants another one too."""

    async def take_both() -> None:
        assert await both.acquire(timeout=30)
        await both.release()

    both = locks.alock(["b", "a"])

    async def work() -> None:
        assert both.keys == ("a", "b")
        async with both as lease:
            assert lease.keys == ("a", "b")
            assert await both.owned()
            assert locks.locked("b")
        async with locks.alock("b"):
            waiting = asyncio.create_task(take_both())
            # It asks and finds one taken meanwhile, on most machines.
            await asyncio.sleep(0.05)
            other = locks.alock("a")
            assert await other.acquire(timeout=10)
            await other.release()
        await waiting
        assert not locks.locked(["a", "b"])

    run(work)
