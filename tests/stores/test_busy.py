"""`Locks.run` while another process has the key: a value instead of an error, and the job once it is free."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks, LockTimeout
from tests.stores.processes import Crew
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: As long as a busy machine takes for the first questions, and no longer: the test waits for its end.
TTL = 3.0
#: Each store by the fixture that has its server, and how its URL is spelt.
STORES = {"redis": ("redis_url", "{}"), "etcd": ("etcd_url", "{}"), "sql+postgresql": ("postgres_url", "sql+{}")}


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest) -> str:
    fixture, spelt = STORES[request.param]
    return spelt.format(request.getfixturevalue(fixture))


@pytest.fixture
def locks(url: str) -> Iterator[Locks]:
    with contextlib.closing(Locks(url)) as locks:
        yield locks


def held(url: str, ttl: float, door: Path) -> None:
    """Run a job under the key until its door is open."""

    def job() -> None:
        door.with_suffix(".begun").touch()
        wait_until(door.exists, "the door", timeout=60)

    with contextlib.closing(Locks(url)) as locks:
        locks.run("invoice:7", job, ttl=ttl)


def test_a_value_instead_of_an_error(locks: Locks, url: str, tmp_path: Path) -> None:
    """Whatever was named is given at once, and nothing is run; without it the error says who has the key."""
    door = tmp_path / "door"
    with Crew() as crew:
        crew.start(held, url, 60.0, door)
        wait_until(door.with_suffix(".begun").exists, "the other process to have the key")
        holder = locks.holder("invoice:7")
        assert holder is not None
        for busy in ("Processing", None):
            assert locks.run("invoice:7", lambda: pytest.fail("it ran beside another"), busy=busy) is busy
        with pytest.raises(LockTimeout) as caught:
            locks.run("invoice:7", int)
        assert (caught.value.key, caught.value.holder) == ("invoice:7", holder.owner)
        door.touch()
        crew.done(30)
        assert locks.run("invoice:7", lambda: "done", busy="Processing") == "done"
    assert not locks.locked("invoice:7")


def test_one_that_died_is_busy_for_its_ttl(locks: Locks, url: str, tmp_path: Path) -> None:
    """SIGKILL for the process that has the key: who comes later does the job, once, when the lease is over."""
    with Crew() as crew:
        member = crew.start(held, url, TTL, tmp_path / "door")
        wait_until((tmp_path / "door.begun").exists, "the other process to have the key")
        member.kill()
        member.join()
        crew.members.clear()
    holder = locks.holder("invoice:7")
    assert holder is None or 0 < (holder.remaining or 0) <= TTL
    runs: list[int] = []
    wait_until(lambda: locks.run("invoice:7", lambda: runs.append(1) or "done", busy=None), "the lease to be over", 30)
    assert runs == [1]
