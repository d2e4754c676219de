"""The main process of a worker keeps the leases of processes forked later, of all its stores, and of several apps."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from celery_locks import Locks
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is proved here lies between the worker and the store


def were_kept(desk: Office, keys: list[str], queue: str, seconds: float = 4.0) -> set[int]:
    """Jobs that hold the interpreter for two ttls or more have their keys at their ends; their processes."""
    for key in keys:
        desk.app.send_task("holds_the_interpreter", (key, "stubborn", seconds), queue=queue)
    runs = [desk.journal.wait_for_start(key, "stubborn") for key in keys]
    for key in keys:
        desk.journal.wait_for_runs(key, 1)
        assert [event["held"] for event in desk.journal.events("lease", key)] == [True]
    return {run.pid for run in runs}


def are_freed(desk: Office, keys: list[str], queue: str, until: str) -> None:
    """Jobs with a ttl of five minutes have their processes killed, all at once, and their keys are free."""
    for key in keys:
        desk.app.send_task("five_minutes", (key, "killed", until), queue=queue)
    for key in keys:
        os.kill(desk.journal.wait_for_start(key, "killed").pid, signal.SIGKILL)
        wait_until(lambda key=key: not desk.locks.locked(key), f"{key!r} to be free", PATIENCE)


def test_processes_forked_later(desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path) -> None:
    """The parent keeps the leases of a process that replaces another, and of one by which the pool grows."""
    worker = hire_kept("worker", {"worker_max_tasks_per_child": 1}, queues=["later"], concurrency=1)
    worker.start()
    first = worker.children()
    assert desk.send("work", "first", queue="later").get(timeout=PATIENCE) == "first"
    desk.app.control.pool_grow(1, destination=[worker.name])
    wait_until(lambda: len(worker.children() - first) == 2, "two processes that came later", PATIENCE)
    keys = [desk.key, f"{desk.key}-too"]
    assert were_kept(desk, keys, "later") & first == set()
    are_freed(desk, keys, "later", str(tmp_path / "never"))


def test_a_pool_that_scales_itself(desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path) -> None:
    """The parent keeps the leases of the processes that came because there was work for them."""
    worker = hire_kept("worker", queues=["scaled"], concurrency="4,1")
    worker.start()
    first = worker.children()
    keys = [f"{desk.key}-{number}" for number in range(4)]
    # None is done before the last process is there, which takes some seconds.
    assert len(were_kept(desk, keys, "scaled", seconds=10.0) - first) == 3
    are_freed(desk, keys, "scaled", str(tmp_path / "never"))


def test_a_process_that_did_not_come_up_in_time(desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path) -> None:
    """worker_proc_alive_timeout: the parent keeps the leases of the process that takes the place of one too slow."""
    slow = tmp_path / "slow"
    worker = hire_kept(
        "worker",
        {"worker_proc_alive_timeout": 3.0},
        queues=["slow"],
        concurrency=1,
        environment={"ACCEPTANCE_SLOW": str(slow)},
    )
    worker.start()
    slow.touch()
    for child in worker.children():
        os.kill(child, signal.SIGKILL)
    wait_until(lambda: "Timed out waiting for UP message" in worker.log(), "the process to be given up", PATIENCE)
    assert were_kept(desk, [desk.key], "slow") == worker.children()
    are_freed(desk, [desk.key], "slow", str(tmp_path / "never"))


def test_several_stores_and_apps(desk: Office, hire: Callable[..., Worker], tmp_path: Path) -> None:
    """The leases of each of them are kept, and given back when their process dies."""
    with RedisServer() as other, contextlib.closing(Locks(other.url)) as elsewhere:
        environment = {"ACCEPTANCE_OTHER_STORE": other.url}
        hire("worker", queues=["several"], module="tests.acceptance.several", environment=environment).start()
        by_url = desk.send("by_url", "by url", queue="several", seconds=4.0)
        key, end = f"{desk.key}-all", tmp_path / "end"
        job = desk.app.send_task("holds_in_several", (key, "kept", 4.0, str(end)), queue="several")
        end.touch()
        assert by_url.get(timeout=PATIENCE) is True
        assert job.get(timeout=PATIENCE) == [True] * 3
        end.unlink()
        desk.app.send_task("holds_in_several_for_long", (key, "killed", 0.0, str(end)), queue="several")
        run = desk.journal.wait_for_start(key, "killed")
        wait_until(lambda: elsewhere.locked(f"{key}-other"), "both keys to be held", PATIENCE)
        os.kill(run.pid, signal.SIGKILL)
        wait_until(lambda: not desk.locks.locked(key), "the key to be free", PATIENCE)
        wait_until(lambda: not elsewhere.locked(f"{key}-other"), "the key elsewhere to be free", PATIENCE)
