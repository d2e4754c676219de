"""Processes that want several keys each, in any order: all get them, and nothing stays behind."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from tests.judging import Stay, faults, record, recorded
from tests.stores.processes import Crew
from tests.stores.redis_stores import cluster_url

if TYPE_CHECKING:
    from pathlib import Path

#: What each of the crowd wants, again and again; the second and the first are the same two in another order.
WANTED = (["a", "b"], ["b", "a"], ["b", "c"], ["c", "a", "b"], ["b"])
CROWD, TURNS = 10, 6


@pytest.fixture(params=["redis", "sql+postgresql", "redis+cluster", "etcd"])
def url(request: pytest.FixtureRequest) -> str:
    """One step and a line, one or several without a line, and a line in which each key is taken by itself."""
    if request.param == "redis+cluster":
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        return cluster_url(cluster)
    if request.param in ("redis", "etcd"):
        return str(request.getfixturevalue(f"{request.param}_url"))
    return f"sql+{request.getfixturevalue('postgres_url')}"


def _turns(url: str, name: str, folder: Path) -> None:
    with contextlib.closing(Locks(url)) as locks:
        for turn in range(TURNS):
            lock = locks.lock(random.choice(WANTED), ttl=60)
            assert lock.acquire(timeout=80), f"{name} has waited for {lock.keys} for too long"
            lease, begin = lock.lease, time.monotonic()
            assert lease
            time.sleep(random.uniform(0, 0.002))
            for key in lock.keys:
                (folder / key).mkdir(exist_ok=True)
                record(folder / key, Stay(begin, time.monotonic(), lease.fence_of(key), f"{name}.{turn}"))
            lock.release()


def test_a_crowd_whose_keys_cross_goes_on(url: str, tmp_path: Path) -> None:
    """Each of many processes has all its turns, no two of them share a key, and fences grow for each key."""
    with Crew() as crew:
        for number in range(CROWD):
            crew.start(_turns, url, f"process-{number}", tmp_path)
        crew.done()
    stays = {key: recorded(tmp_path / key) for key in "abc"}
    assert {key: faults(each) for key, each in stays.items()} == {"a": [], "b": [], "c": []}
    assert len({stay.owner for each in stays.values() for stay in each}) == CROWD * TURNS
