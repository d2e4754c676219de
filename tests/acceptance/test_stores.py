"""Real workers on every other store: their jobs are told apart by it as they are by one Redis."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.commands import celery_locks
from tests.judging import Stay, crowding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

#: Each store by the fixture that has its server, and how its URL is made of what that gives.
STORES: dict[str, tuple[str, Callable[[str], str]]] = {
    "redlock": ("redlock_url", str),
    "sql+sqlite": ("tmp_path", lambda path: f"sql+sqlite:///{path}/locks.db"),
    "sql+postgresql": ("postgres_url", lambda url: f"sql+{url}"),
    "sql+mysql": ("mariadb_url", lambda url: f"sql+{url}"),
    "postgresql+advisory": ("postgres_url", lambda url: url.replace("postgresql", "postgresql+advisory", 1)),
    "mysql+getlock": ("mariadb_url", lambda url: url.replace("mysql", "mysql+getlock", 1)),
    "etcd": ("etcd_url", str),
    "zookeeper": ("zookeeper_url", str),
}
#: As long as a job of a busy machine may be without a beat, and no longer: the test waits for its end.
TTL = 2.0
JOBS = 24


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest) -> str:
    """A store of each kind that no other acceptance test has jobs on."""
    fixture, made = STORES[request.param]
    return made(request.getfixturevalue(fixture))


@only_redis
def test_jobs_on_every_store(desk: Office, hire: Callable[..., Worker], store_url: str, tmp_path: Path) -> None:
    """Contending jobs of two processes, one of which is killed in mid-job, all run, one at a time, with higher fences.

    The killed one's key is taken over, and its job, which the broker had not heard to be done, runs again. `stats` has
    their conflicts, or says that this store remembers none.
    """
    end, names = tmp_path / "end", [f"job {number}" for number in range(JOBS)]
    conf = {"lock_store": store_url, "lock_ttl": TTL, "lock_countdown": 0.05, "task_reject_on_worker_lost": True}
    worker = hire("worker", conf, queues=[desk.key])
    worker.start()
    victim = desk.send("open", "killed", queue=desk.key, until=str(end))
    first = desk.journal.wait_for_start(desk.key, "killed")
    jobs = [desk.send("acks_late", name, queue=desk.key, seconds=0.02) for name in names]
    # The other process has found the key taken.
    desk.wait_for_messages(names[0], 2)
    killed_at = time.monotonic()
    os.kill(first.pid, signal.SIGKILL)
    end.touch()
    assert [job.get(timeout=PATIENCE) for job in [victim, *jobs]] == ["killed", *names]
    desk.journal.wait_for_runs(desk.key, JOBS + 1)
    runs = desk.journal.runs(desk.key)
    judge(runs, ["killed", "killed", *names], ended=lambda run: killed_at if run.pid == first.pid else run.end)
    assert len({run.pid for run in runs if run.job == "killed"}) == 2
    told = celery_locks(store_url, "stats", "--json")
    if store_url.startswith("sql+"):
        assert [(said["key"], said["conflicts"] > 0) for said in told.said] == [(desk.key, True)]
    else:
        assert (told.code, told.out) == (4, "")


@only_redis
@pytest.mark.parametrize("store_url", ["sql+postgresql", "etcd", "zookeeper"], indirect=True)
def test_crowds_on_stores_without_a_line(
    desk: Office, hire: Callable[..., Worker], store_url: str, tmp_path: Path
) -> None:
    """Up to three of four processes have a key together, one of which is killed in mid-job, and a writer has it alone.

    Readers have it together, beside nobody else. The killed one's place is free again, and its job, which the broker
    had not heard to be done, runs again.
    """
    end, names = tmp_path / "end", [f"{kind}{number}" for number, kind in enumerate("sssswsssrrrrwssrr")]
    crowded, kinds = {"lock_slots": 3}, {"s": "acks_late", "w": "line", "r": "work"}
    conf = {"lock_store": store_url, "lock_ttl": TTL, "lock_countdown": 0.05, "task_reject_on_worker_lost": True}
    conf["task_annotations"] = {
        "acks_late": crowded,
        "open": crowded,
        "line": {"lock_countdown": 0.05},
        "work": {"lock_shared": True},
        "open_short_lease": {"lock_shared": True, "lock_ttl": TTL},
    }
    worker = hire("worker", conf, queues=[desk.key], concurrency=4)
    worker.start()
    held = [desk.send("open", name, queue=desk.key, until=str(end)) for name in ("s killed", "s stays")]
    first, _ = (desk.journal.wait_for_start(desk.key, name) for name in ("s killed", "s stays"))
    jobs = [desk.send(kinds[name[0]], name, queue=desk.key, seconds=0.1) for name in names]
    # A writer has found the key taken.
    desk.wait_for_messages(names[4], 2)
    killed_at = time.monotonic()
    os.kill(first.pid, signal.SIGKILL)
    end.touch()
    assert [job.get(timeout=PATIENCE) for job in [*held, *jobs]] == ["s killed", "s stays", *names]
    last, end = ["r stays", "r comes"], tmp_path / "last end"
    for name in last:
        desk.send("open_short_lease", name, queue=desk.key, until=str(end))
        desk.journal.wait_for_start(desk.key, name)
    end.touch()
    runs = desk.journal.wait_for_runs(desk.key, len(names) + 4)
    assert sorted(run.job for run in runs) == sorted(["s killed", "s stays", *names, *last])
    begun = desk.journal.runs(desk.key)
    stays = [Stay(run.start, run.end or killed_at, run.fence, f"{run.job} {run.pid}") for run in begun]
    assert crowding(stays, 3) == []
