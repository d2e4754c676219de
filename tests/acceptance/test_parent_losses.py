"""What the main process of a worker does when a lease of its pool is lost, and when it only seems to be."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from celery_locks import LockLost, Locks
from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is proved here lies between the worker and the store

MANY = 20


@pytest.fixture
def store(desk: Office) -> Iterator[RedisServer]:
    """A store that a test may stop, neither broker nor backend, and the desk's too."""
    with RedisServer() as server:
        desk.locks = Locks(server.url)
        yield server
        desk.locks.close()


@pytest.fixture
def worker(hire_kept: Callable[..., Worker], store: RedisServer) -> Worker:
    """A worker with that store."""
    worker = hire_kept("worker", {"lock_store": store.url}, queues=["losing"])
    worker.start()
    return worker


def ends_of_leases(locks: Locks, keys: list[str]) -> dict[str, float]:
    """When each of these ends at the store, at the soonest: a beat may come and make it later."""
    before = time.monotonic()
    return {key: before + locks.holder(key).remaining for key in keys}


def wait_for_beat(desk: Office) -> None:
    """Until a lease of six seconds was renewed once more."""
    wait_until(lambda: desk.locks.holder(desk.key).remaining < 4.5, "a beat to be due", PATIENCE)
    wait_until(lambda: desk.locks.holder(desk.key).remaining > 5, "a beat", PATIENCE)


def test_the_process_is_gone_before_its_lease_ends(
    desk: Office, hire_kept: Callable[..., Worker], store: RedisServer
) -> None:
    """lock_on_lost="kill": while the store is frozen and the job holds the interpreter, its process ends in time.

    In time is before the store lets another have the key.
    """
    worker = hire_kept("worker", {"lock_store": store.url}, queues=["killed"], concurrency=MANY)
    worker.start()
    keys = [f"{desk.key}-{number}" for number in range(MANY)]
    for key in keys:
        desk.app.send_task("holds_the_interpreter_or_dies", (key, "killed", 60.0), queue="killed")
    processes = {key: psutil.Process(desk.journal.wait_for_start(key, "killed").pid) for key in keys}
    ends = ends_of_leases(desk.locks, keys)
    store.pause()
    gone: dict[int, float] = {}
    psutil.wait_procs(
        processes.values(), timeout=PATIENCE, callback=lambda process: gone.setdefault(process.pid, time.monotonic())
    )
    late = [key for key, process in processes.items() if gone.get(process.pid, float("inf")) >= ends[key]]
    assert late == []
    assert worker.is_alive()
    store.resume()


def test_a_store_that_forgot_everything(desk: Office, worker: Worker, store: RedisServer) -> None:
    """A store restarted empty under a running job: the next beat finds it out, and the job is stopped, told once."""
    job = desk.send("fifteen_seconds", "forgotten", queue="losing", seconds=60)
    desk.journal.wait_for_start(desk.key, "forgotten")
    store.kill()
    store.start()
    with pytest.raises(LockLost, match="the store says that it expired or was taken away"):
        job.get(timeout=PATIENCE)
    [lost] = [line for line in worker.log().splitlines() if f"lost the lease of {desk.key!r}" in line]
    assert "MainProcess" in lost


def test_hiccups_lose_nothing(
    desk: Office, hire_kept: Callable[..., Worker], store: RedisServer, tmp_path: Path
) -> None:
    """One beat without an answer, two slow ones, a connection that is reset: the job ends well, with its key."""
    with Proxy(store.url) as proxy:
        worker = hire_kept("worker", {"lock_store": proxy.url}, queues=["hiccups"])
        worker.start()
        job = desk.send("open_six_seconds", "kept", queue="hiccups", until=str(tmp_path / "end"))
        desk.journal.wait_for_start(desk.key, "kept")
        proxy.lose_answer()
        wait_until(lambda: "no answer to a beat" in worker.log(), "a beat to be lost", PATIENCE)
        wait_for_beat(desk)
        proxy.delay(0.3)
        wait_for_beat(desk)
        wait_for_beat(desk)
        proxy.delay(0.0)
        proxy.cut()
        wait_for_beat(desk)
        wait_for_beat(desk)
        (tmp_path / "end").touch()
        assert job.get(timeout=PATIENCE) == "kept"
        [end] = desk.journal.events("lease", desk.key)
        assert end["held"] is True
        assert "lost the lease" not in worker.log()


def test_a_stopped_process_keeps_its_key(
    desk: Office, hire_kept: Callable[..., Worker], store: RedisServer, worker: Worker, tmp_path: Path
) -> None:
    """SIGSTOP for a process of the pool, for ttls: its key stays its own, and the job goes on when it may."""
    other = hire_kept("other", {"lock_store": store.url}, queues=["other"])
    other.start()
    job = desk.send("open_short_lease", "stopped", queue="losing", until=str(tmp_path / "end"))
    run = desk.journal.wait_for_start(desk.key, "stopped")
    os.kill(run.pid, signal.SIGSTOP)
    contender = desk.send("work", "contender", queue="other")
    desk.wait_until_waiting(contender)
    so_far = len(desk.wait_for_messages("contender", 1))
    # Ten times the re-queue delay of 0.2 s are two ttls of the job.
    desk.wait_for_messages("contender", so_far + 10)
    assert desk.locks.holder(desk.key).owner == run.facts["owner"]
    os.kill(run.pid, signal.SIGCONT)
    (tmp_path / "end").touch()
    assert (job.get(timeout=PATIENCE), contender.get(timeout=PATIENCE)) == ("stopped", "contender")
    judge(desk.journal.runs(desk.key), ["stopped", "contender"])
    assert worker.is_alive()


def test_a_stopped_worker_learns_of_its_loss(
    desk: Office, hire_kept: Callable[..., Worker], store: RedisServer
) -> None:
    """SIGSTOP for all of a worker, past the ttl, and SIGCONT: the job is stopped in the middle of a long sleep.

    Each time by a process that was just forked: its threads are then the first to go on.
    """
    worker = hire_kept("worker", {"lock_store": store.url, "worker_max_tasks_per_child": 1}, queues=["stopped"])
    worker.start()
    for turn in range(10):
        name = f"overtaken {turn}"
        job = desk.send("short_lease", name, queue="stopped", seconds=60)
        desk.journal.wait_for_start(desk.key, name)
        worker.pause()
        desk.wait_until_free()
        with desk.taken():
            worker.resume()
            with pytest.raises(LockLost):
                job.get(timeout=PATIENCE)
        assert worker.log().count(f"lost the lease of {desk.key!r}") == turn + 1
