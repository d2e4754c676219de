"""What the main process of a worker does when a lease of its pool is lost, and when it only seems to be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest

from celery_locks import LockLost, Locks
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery.result import AsyncResult

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


def keys_of(desk: Office, more: str = "") -> list[str]:
    """As many keys as there are processes."""
    return [f"{desk.key}{more}-{number}" for number in range(MANY)]


def send_all(desk: Office, task: str, job: str, keys: list[str], **arguments: object) -> list[AsyncResult]:
    """A job on each of these keys, once all have begun."""
    jobs = [desk.app.send_task(task, kwargs={"key": key, "job": job, **arguments}, queue="losing") for key in keys]
    for key in keys:
        desk.journal.wait_for_start(key, job)
    return jobs


def ends_of_leases(locks: Locks, keys: list[str]) -> dict[str, float]:
    """When each of these ends at the store, at the soonest: a beat may come and make it later."""
    before = time.monotonic()
    return {key: before + locks.holder(key).remaining for key in keys}


def has_ended(process: psutil.Process) -> bool:
    """Whether it is dead, also when nobody has taken note of that."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("noted", ["", "slowly"])
def test_processes_are_gone_before_their_leases_end(
    desk: Office, hire_kept: Callable[..., Worker], store: RedisServer, noted: str
) -> None:
    """lock_on_lost="kill": while the store is frozen and jobs hold the interpreter, their processes end in time.

    In time is before the store lets another have the key, also where whoever is told of a loss is slow.
    """
    worker = hire_kept("worker", {"lock_store": store.url}, queues=["losing"], concurrency=MANY)
    worker.start()
    keys = keys_of(desk, noted)
    send_all(desk, "holds_the_interpreter_or_dies", "killed", keys, seconds=60.0)
    processes = {key: psutil.Process(desk.journal.wait_for_start(key, "killed").pid) for key in keys}
    ends = ends_of_leases(desk.locks, keys)
    store.pause()
    gone: dict[str, float] = {}

    def are_gone() -> bool:
        for key in processes.keys() - gone.keys():
            if has_ended(processes[key]):
                gone[key] = time.monotonic()
        return len(gone) == len(processes)

    wait_until(are_gone, "all processes to be killed", PATIENCE)
    assert [key for key in keys if gone[key] >= ends[key]] == []
    assert worker.is_alive()
    store.resume()


def test_the_end_of_leases_without_a_heartbeat(
    desk: Office, hire_kept: Callable[..., Worker], store: RedisServer
) -> None:
    """lock_heartbeat=False: a job that outlives its lease is stopped in a long sleep, or killed with its process."""
    worker = hire_kept("worker", {"lock_store": store.url}, queues=["losing"])
    worker.start()
    stopped, killed = (f"{desk.key}-{what}" for what in ("stopped", "killed"))
    [job] = send_all(desk, "two_seconds_without_beat", "stopped", [stopped], seconds=60)
    with pytest.raises(LockLost, match="its ttl ran out"):
        job.get(timeout=PATIENCE)
    [job] = send_all(desk, "two_seconds_without_beat_or_dies", "killed", [killed], seconds=60)
    with pytest.raises(LockLost, match="The process of the job was ended"):
        job.get(timeout=PATIENCE)
    [run] = desk.journal.runs(killed)
    assert run.pid not in worker.children()
    assert desk.journal.events("answered", "renewal") == [] or not any(
        key in event["keys"] for event in desk.journal.events("answered", "renewal") for key in (stopped, killed)
    )


def test_a_store_that_forgot_everything(desk: Office, hire_kept: Callable[..., Worker], store: RedisServer) -> None:
    """A store restarted empty under running jobs: the next beat finds it out, and each job is stopped, told once."""
    worker = hire_kept("worker", {"lock_store": store.url}, queues=["losing"], concurrency=MANY)
    worker.start()
    keys = keys_of(desk)
    jobs = send_all(desk, "fifteen_seconds", "forgotten", keys, seconds=60)
    store.kill()
    store.start()
    so_far = len(desk.journal.events("answered", "renewal"))
    for job in jobs:
        with pytest.raises(LockLost, match="the store says that it expired or was taken away"):
            job.get(timeout=PATIENCE)
    beats = [key for event in desk.journal.events("answered", "renewal")[so_far:] for key in event["keys"]]
    assert sorted(beats) == sorted(keys), "each was asked for once, and that was its end"
    for key in keys:
        [lost] = [line for line in worker.log().splitlines() if f"lost the lease of {key!r}" in line]
        assert "MainProcess" in lost


def test_hiccups_lose_nothing(
    desk: Office, hire_kept: Callable[..., Worker], store: RedisServer, tmp_path: Path
) -> None:
    """One beat without an answer, two slow ones, a connection that is reset: the jobs end well, with their keys."""
    with Proxy(store.url) as proxy:
        worker = hire_kept("worker", {"lock_store": proxy.url}, queues=["losing"], concurrency=MANY)
        worker.start()
        keys = keys_of(desk)
        jobs = send_all(desk, "open_six_seconds", "kept", keys, until=str(tmp_path / "end"))
        proxy.lose_answer()
        wait_until(lambda: "no answer to a beat" in worker.log(), "a beat to be lost", PATIENCE)
        wait_for_beats(desk, keys)
        proxy.delay(0.3)
        wait_for_beats(desk, keys)
        wait_for_beats(desk, keys)
        proxy.delay(0.0)
        proxy.cut()
        wait_for_beats(desk, keys)
        wait_for_beats(desk, keys)
        (tmp_path / "end").touch()
        assert desk.results_of_kept(jobs, keys) == ["kept"] * MANY
        assert "lost the lease" not in worker.log()


def wait_for_beats(desk: Office, keys: list[str]) -> None:
    """Until each of these leases was renewed once more."""
    so_far = len(desk.journal.events("answered", "renewal"))

    def all_renewed() -> bool:
        answered = desk.journal.events("answered", "renewal")[so_far:]
        return {key for event in answered for key in event["keys"]} >= set(keys)

    wait_until(all_renewed, "a beat of each", PATIENCE, interval=0.05)
