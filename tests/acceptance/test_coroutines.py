"""Coroutines, jobs of real workers and plain code in other processes want one key."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from celery_locks import Locks
from tests.acceptance.journal import Journal, judge
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.stores.processes import Crew
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis

#: So many of each kind.
EACH = 4


class Comer(NamedTuple):
    """Plain code in a process of its own, which comes for the key when its door is open."""

    url: str
    journal: Path
    key: str
    job: str
    door: Path

    def comes(self) -> None:
        with contextlib.closing(Locks(self.url)) as locks:
            # Connected before it is its turn to come.
            locks.locked(self.key)
            wait_until(self.door.exists, f"the door of {self.job}", timeout=2 * PATIENCE)
            with locks.lock(self.key) as lease, Journal(self.journal).running(self.key, self.job, lease.fence):
                pass


async def coroutine(office: Office, job: str) -> None:
    async with office.locks.alock(office.key) as lease:
        with office.journal.running(office.key, job, lease.fence):
            await asyncio.sleep(0.01)


def in_processes(crew: Crew, office: Office, url: str, folder: Path) -> list[Comer]:
    """Those that come as plain code, each ready before its door."""
    comers = [
        Comer(url, office.journal.path, office.key, f"plain {number}", folder / f"door {number}")
        for number in range(EACH)
    ]
    for comer in comers:
        crew.start(comer.comes)
    return comers


def names() -> list[str]:
    return [f"{kind} {number}" for number in range(EACH) for kind in ("job", "coroutine", "plain")]


def test_they_stand_in_one_line(office: Office, tmp_path: Path) -> None:
    """In Redis: each has the key in the order in which it came, alone, as soon as the one before it is done."""

    async def come(comers: list[Comer]) -> None:
        async with office.locks.alock(office.key, ttl=60):
            tasks = []
            for place, name in enumerate(names(), 1):
                kind, number = name.split()
                if kind == "job":
                    office.send("line", name)
                elif kind == "coroutine":
                    tasks.append(asyncio.ensure_future(coroutine(office, name)))
                else:
                    comers[int(number)].door.touch()
                await asyncio.to_thread(office.wait_for_line, place)
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)

    with Crew() as crew:
        asyncio.run(come(in_processes(crew, office, office.vault.url, tmp_path)))
        # The countdown of a job is a minute: it would come too late if it were not woken.
        runs = office.journal.wait_for_runs(office.key, len(names()), PATIENCE)
        crew.done(PATIENCE)
    judge(runs, names())
    assert [run.job for run in runs] == names()


@pytest.fixture(params=["sql+postgresql", "etcd"])
def url(request: pytest.FixtureRequest) -> str:
    """A store without a line."""
    if request.param == "etcd":
        return str(request.getfixturevalue("etcd_url"))
    return f"sql+{request.getfixturevalue('postgres_url')}"


def test_they_exclude_each_other_without_a_line(
    desk: Office, hire: Callable[..., Worker], url: str, tmp_path: Path
) -> None:
    """All come at once, each has the key once and alone, under higher and higher fences."""
    hire("worker", {"lock_store": url, "lock_countdown": 0.2}, queues=[desk.key]).start()

    async def come(comers: list[Comer]) -> None:
        async with desk.locks.alock(desk.key, ttl=60):
            for number in range(EACH):
                desk.send("patient", f"job {number}", queue=desk.key)
                comers[number].door.touch()
            tasks = [asyncio.ensure_future(coroutine(desk, f"coroutine {number}")) for number in range(EACH)]
            await asyncio.to_thread(desk.wait_for_messages, "job 0", 1)
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)

    with contextlib.closing(Locks(url)) as locks, Crew() as crew:
        desk.locks = locks
        asyncio.run(come(in_processes(crew, desk, url, tmp_path)))
        runs = desk.journal.wait_for_runs(desk.key, len(names()), PATIENCE)
        crew.done(PATIENCE)
    judge(runs, names())
    assert sorted(run.job for run in runs) == sorted(names())
    assert len({run.fence for run in runs}) == len(runs)
