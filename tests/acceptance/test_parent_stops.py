"""Processes that are stopped, of the pool or the main one: who keeps the leases, and who says what when they go on."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest

from celery_locks import LockLost, Locks
from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is proved here lies between the worker and the store

MANY = 20
GONE = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


@pytest.fixture
def store(desk: Office) -> Iterator[RedisServer]:
    """A store that a test may stop, neither broker nor backend, and the desk's too."""
    with RedisServer() as server:
        desk.locks = Locks(server.url)
        yield server
        desk.locks.close()


@pytest.fixture
def many(hire_kept: Callable[..., Worker], store: RedisServer) -> Worker:
    """A worker with that store and many processes."""
    worker = hire_kept("worker", {"lock_store": store.url}, queues=["stopped"], concurrency=MANY)
    worker.start()
    return worker


def test_a_stopped_process_keeps_its_key(
    desk: Office, hire_kept: Callable[..., Worker], store: RedisServer, tmp_path: Path
) -> None:
    """SIGSTOP for a process of the pool, for ttls: its key stays its own, and the job goes on when it may."""
    worker, other = (hire_kept(name, {"lock_store": store.url}, queues=[name]) for name in ("stopped", "rival"))
    worker.start()
    other.start()
    job = desk.send("open_short_lease", "stopped", queue="stopped", until=str(tmp_path / "end"))
    run = desk.journal.wait_for_start(desk.key, "stopped")
    os.kill(run.pid, signal.SIGSTOP)
    contender = desk.send("work", "contender", queue="rival")
    desk.wait_until_waiting(contender)
    so_far = len(desk.wait_for_messages("contender", 1))
    # Fifteen times the re-queue delay of 0.2 s are two ttls of the job.
    desk.wait_for_messages("contender", so_far + 15)
    assert desk.locks.holder(desk.key).owner == run.facts["owner"]
    os.kill(run.pid, signal.SIGCONT)
    (tmp_path / "end").touch()
    assert (job.get(timeout=PATIENCE), contender.get(timeout=PATIENCE)) == ("stopped", "contender")
    judge(desk.journal.runs(desk.key), ["stopped", "contender"])
    assert worker.is_alive()


def test_a_stopped_process_whose_key_is_taken_away(desk: Office, many: Worker, tmp_path: Path) -> None:
    """It learns of its loss when it goes on, and its job, which is to end that moment, cannot as if nothing were."""
    keys, end = [f"{desk.key}-{number}" for number in range(MANY)], tmp_path / "end"
    jobs = [desk.app.send_task("open_short_lease", (key, "robbed", str(end)), queue="stopped") for key in keys]
    runs = [desk.journal.wait_for_start(key, "robbed") for key in keys]
    for run in runs:
        os.kill(run.pid, signal.SIGSTOP)
        assert desk.locks.force_release(run.key)
    wait_until(lambda: many.log().count("lost the lease") == MANY, "the main process to say so", PATIENCE)
    end.touch()
    for run in runs:
        os.kill(run.pid, signal.SIGCONT)
    for job in jobs:
        with pytest.raises(LockLost):
            job.get(timeout=PATIENCE)
    assert many.log().count("lost the lease") == MANY


def test_a_stopped_main_process_loses_nothing(desk: Office, many: Worker, tmp_path: Path) -> None:
    """SIGSTOP for a worker's main process alone, for two ttls, and SIGCONT: its jobs keep their keys and run on."""
    keys = [f"{desk.key}-{number}" for number in range(MANY)]
    end = str(tmp_path / "end")
    jobs = [desk.app.send_task("open_six_seconds", (key, "alone", end), queue="stopped") for key in keys]
    runs = [desk.journal.wait_for_start(key, "alone") for key in keys]
    os.kill(many.pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    for times in range(1, 6):
        wait_until(lambda times=times: renewed(desk, keys) >= times, f"{times} beats of each of the pool", PATIENCE)
        assert desk.locks.holder(runs[0].key).owner == runs[0].facts["owner"]
    wait_until(lambda: time.monotonic() > stopped_at + 13, "two ttls to be over", PATIENCE, interval=0.1)
    os.kill(many.pid, signal.SIGCONT)
    so_far = len(of_main(desk, many))
    wait_until(lambda: len(of_main(desk, many)) > so_far + 1, "the main process to beat again", PATIENCE)
    assert [desk.locks.holder(run.key).owner for run in runs] == [run.facts["owner"] for run in runs]
    (tmp_path / "end").touch()
    assert desk.results_of_kept(jobs, keys) == ["alone"] * MANY
    assert "lost the lease" not in many.log()


def renewed(desk: Office, keys: list[str]) -> int:
    """How often each of these was renewed by the process that holds it, at least."""
    owners = {run.pid: run.key for key in keys for run in desk.journal.runs(key)}
    counts = dict.fromkeys(keys, 0)
    for event in desk.journal.events("answered", "renewal"):
        if event["pid"] in owners:
            counts[owners[event["pid"]]] += 1
    return min(counts.values())


def of_main(desk: Office, worker: Worker) -> list[dict]:
    """The renewals by a worker's main process."""
    return [event for event in desk.journal.events("answered", "renewal") if event["pid"] == worker.pid]


def test_processes_end_in_time_also_alone(desk: Office, many: Worker, store: RedisServer) -> None:
    """lock_on_lost="kill", while the store is frozen and the main process is stopped: they end themselves in time."""
    keys = [f"{desk.key}-{number}" for number in range(MANY)]
    for key in keys:
        desk.app.send_task("six_seconds_or_dies", (key, "killed", 60), queue="stopped")
    processes = {key: psutil.Process(desk.journal.wait_for_start(key, "killed").pid) for key in keys}
    before = time.monotonic()
    ends = {key: before + desk.locks.holder(key).remaining for key in keys}
    os.kill(many.pid, signal.SIGSTOP)
    store.pause()
    gone: dict[str, float] = {}

    def all_are_gone() -> bool:
        for key, process in processes.items():
            if key not in gone and process.status() in GONE:
                gone[key] = time.monotonic()
        return len(gone) == MANY

    wait_until(all_are_gone, "all to be gone", PATIENCE, interval=0.02)
    assert [key for key in keys if gone[key] >= ends[key]] == []
    store.resume()
    os.kill(many.pid, signal.SIGCONT)


def test_a_stopped_worker_learns_of_its_loss(
    desk: Office, hire_kept: Callable[..., Worker], store: RedisServer
) -> None:
    """SIGSTOP for all of a worker, past the ttl, and SIGCONT: jobs are stopped in the middle of a long sleep.

    Each time in processes that were just forked: their threads are then the first to go on. However late that is, one
    of the two says that a lease is lost.
    """
    conf = {"lock_store": store.url, "worker_max_tasks_per_child": 1}
    worker = hire_kept("worker", conf, queues=["stopped"], concurrency=MANY // 2)
    worker.start()
    keys = [f"{desk.key}-{number}" for number in range(MANY // 2)]
    for turn, seconds in enumerate((0.0, 2.0)):
        name = f"overtaken {turn}"
        jobs = [desk.app.send_task("short_lease", (key, name, 60), queue="stopped") for key in keys]
        for key in keys:
            desk.journal.wait_for_start(key, name)
        worker.pause()
        with ExitStack() as others:
            for key in keys:
                wait_until(lambda key=key: not desk.locks.locked(key), f"{key!r} to be free", PATIENCE)
                others.enter_context(desk.locks.lock(key, ttl=60))
            free_at = time.monotonic()
            wait_until(lambda end=free_at + seconds: time.monotonic() >= end, "more time", PATIENCE)
            worker.resume()
            for job in jobs:
                desk.wait_for_state(job, "FAILURE")
                assert isinstance(job.result, LockLost)
        log = worker.log()
        assert [log.count(f"lost the lease of {key!r}") for key in keys] == [turn + 1] * len(keys)
