"""Whoever is cancelled leaves no key taken: also where a lock is more than one request, and where there is no line."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks import Locks
from tests.aio.cancelling import WORKS, CancelledWhileAsked, Mixed, later
from tests.aio.conftest import cancelled, run, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: How often a moment is tried out. A lock in etcd takes some milliseconds.
TIMES = 48
#: What stands for a tenth of a millisecond there, that a lock is swept over as a whole.
TENTH = {"etcd": 0.0005, "sqlite": 0.0003, "postgres": 0.0003}


@pytest.fixture(params=TENTH)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def locks(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Iterator[Locks]:
    """The locks of each kind of store."""
    match kind:
        case "sqlite":
            url = f"sql+sqlite:///{tmp_path}/locks.db"
        case "postgres":
            url = f"sql+{request.getfixturevalue('postgres_url')}"
        case _:
            url = request.getfixturevalue(f"{kind}_url")
    made = Locks(url)
    yield made
    settle()
    made.close()


@pytest.fixture
def left(locks: Locks) -> Callable[[str], list[str]]:
    """Which of the keys that match are taken once all that was asked for is done."""

    def show(keys: str) -> list[str]:
        settle()
        return [holding.key for holding in locks.list(keys)]

    return show


@pytest.mark.parametrize(
    ("keys", "mixed"),
    [("swept", False), (["swept", "swept too"], False), ("swept", True)],
    ids=["a key", "two keys", "slots and readers"],
)
def test_at_any_moment(
    locks: Locks,
    left: Callable[[str], list[str]],
    kind: str,
    keys: str | list[str],
    mixed: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Alone and with others on the same key, once and twice, at moments swept over all that is done."""
    those: Any = Mixed(locks) if mixed else locks

    async def sweep() -> None:
        for number in range(TIMES):
            work = WORKS[number % len(WORKS)]
            tasks = [asyncio.ensure_future(work(those, keys)) for _ in range(1 + number % 3)]
            await later(random.randrange(40), TENTH[kind])
            victim = random.choice(tasks)
            victim.cancel()
            if random.randrange(2):
                await asyncio.sleep(0)
                victim.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(sweep)
    assert left("*") == []


class TestWhileAsked(CancelledWhileAsked):
    """In each of them."""


def test_in_a_row(locks: Locks, left: Callable[[str], list[str]]) -> None:
    """Those who wait before and behind it, and the first of the row, who looks for all, come to their turns."""
    came: list[int] = []

    async def one(number: int) -> None:
        async with locks.alock("a", ttl=60):
            came.append(number)

    async def work() -> None:
        async with locks.alock("a", ttl=60):
            tasks = [asyncio.ensure_future(one(number)) for number in range(6)]
            await asyncio.sleep(0.05)
            for number in (0, 3, 5):
                await cancelled(tasks[number])
        await asyncio.gather(*tasks, return_exceptions=True)

    run(work)
    assert sorted(came) == [1, 2, 4]
    assert left("*") == []
