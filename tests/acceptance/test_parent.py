"""What the main process of a worker does for the leases of its pool."""

from __future__ import annotations

import itertools
import os
import re
import signal
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from celery.exceptions import TimeLimitExceeded

from celery_locks.keeper import TOGETHER
from tests.acceptance.journal import judge
from tests.acceptance.nodes import Worker, start_all
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery.result import AsyncResult

    from tests.acceptance.conftest import System

_numbers = itertools.count(1)

pytestmark = only_redis  # what is proved here lies between the worker and the store

MANY = 20


@pytest.mark.newest
def test_jobs_that_hold_the_interpreter_keep_their_keys(desk: Office, hire_kept: Callable[..., Worker]) -> None:
    """A C call that lets no other thread run, for four ttls, loses nothing: a contender elsewhere begins after it."""
    holder, other = (hire_kept(name, queues=[name], concurrency=MANY) for name in ("holder", "rival"))
    start_all([holder, other])
    keys = [f"{desk.key}-{number}" for number in range(MANY)]
    for key in keys:
        desk.app.send_task("holds_the_interpreter", (key, "stubborn", 8.0), queue="holder")
    for key in keys:
        desk.journal.wait_for_start(key, "stubborn")
        desk.app.send_task("work", (key, "contender"), queue="rival")
    for key in keys:
        runs = desk.journal.wait_for_runs(key, 2)
        judge(runs, ["stubborn", "contender"])
        assert runs[0].end is not None
        assert runs[0].end - runs[0].start > 7.9
        assert [event["held"] for event in desk.journal.events("lease", key)] == [True, True]
    assert "does not renew our leases" not in holder.log()


@pytest.mark.parametrize("task", ["five_minutes", "five_minutes_without_beat"])
def test_a_dead_process_frees_its_key(
    desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path, task: str
) -> None:
    """A process of the pool is killed, or ends by a fault: its key is free within a second, and not after its ttl."""
    worker = hire_kept("worker", queues=["dying"])
    worker.start()
    took, dead = [], []
    for turn in range(MANY):
        desk.send(task, f"killed {turn}", queue="dying", until=str(tmp_path / "never"))
        run = desk.journal.wait_for_start(desk.key, f"killed {turn}")
        holding = desk.locks.holder(desk.key)
        # Its ttl ends later than the test waits: if the key is free by then, somebody has given it back.
        assert (holding.owner, holding.remaining > 2 * PATIENCE) == (run.facts["owner"], True)
        os.kill(run.pid, (signal.SIGKILL, signal.SIGSEGV)[turn % 2])
        killed_at = time.monotonic()
        desk.wait_until_free()
        took.append(time.monotonic() - killed_at)
        dead.append(run.pid)
    # A busy machine may take its time now and then.
    assert statistics.median(took) < 1.0, took
    wait_until(lambda: given_back(worker, desk.key) == dead, "the main process to say that it did", PATIENCE)
    assert worker.is_alive()


def given_back(worker: Worker, key: str) -> list[int]:
    """The processes of which a worker's main process says that they died with this key, which it gave back."""
    said = rf"MainProcess\] process (\d+) died and held {re.escape(repr(key))}: given back"
    return [int(pid) for pid in re.findall(said, worker.log())]


@pytest.fixture(scope="module")
def many(system: System) -> Iterator[Worker]:
    """A worker with a process for each of many jobs, started once."""
    module = "tests.acceptance.stubborn"
    worker = Worker("many", system.conf, system.journal, queues=["dying-too"], concurrency=MANY, module=module)
    worker.start()
    yield worker
    worker.close()


def keys_of(desk: Office) -> list[str]:
    """As many keys as there are processes."""
    return [f"{desk.key}-{number}" for number in range(MANY)]


def send_all(desk: Office, task: str, keys: list[str], until: Path) -> dict[str, AsyncResult]:
    """A job for each key, once all have begun."""
    jobs = {key: desk.app.send_task(task, (key, "many", str(until)), queue="dying-too") for key in keys}
    for key in keys:
        desk.journal.wait_for_start(key, "many")
    return jobs


def wait_until_all_free(desk: Office, keys: list[str]) -> None:
    """Until nobody has any of these keys."""
    for key in keys:
        wait_until(lambda key=key: not desk.locks.locked(key), f"{key!r} to be free", PATIENCE)


@pytest.mark.usefixtures("many")
def test_a_redelivered_job_takes_its_key_back(desk: Office, tmp_path: Path) -> None:
    """Its process was killed, and it acknowledges late: it runs again long before its ttl of five minutes is over."""
    keys, killed_at = keys_of(desk), {}
    send_all(desk, "five_minutes_acks_late", keys, tmp_path / "end")
    for key in keys:
        [run] = desk.journal.runs(key)
        killed_at[key] = time.monotonic()
        os.kill(run.pid, signal.SIGKILL)
    for key in keys:
        # Celery itself waits for ten seconds before it takes a process for lost.
        again = desk.journal.wait_for_start(key, "many", times=2, timeout=60)
        # Half a ttl is more than a busy machine needs, and less than the ttl would take.
        assert killed_at[key] < again.start < killed_at[key] + again.facts["ttl"] / 2
    (tmp_path / "end").touch()
    for key in keys:
        desk.journal.wait_for_runs(key, 1)
        judge(desk.journal.runs(key), ["many"] * 2, ended=lambda run: run.end or killed_at[run.key])


def test_revoked_jobs_free_their_keys(desk: Office, many: Worker, tmp_path: Path) -> None:
    """revoke(terminate=True), however it ends the process, and its key is free long before its ttl of five minutes."""
    jobs = send_all(desk, "five_minutes", keys_of(desk), tmp_path / "never")
    ways = itertools.cycle(("SIGTERM", "SIGKILL", "SIGQUIT"))
    for job in jobs.values():
        job.revoke(terminate=True, signal=next(ways))
    wait_until_all_free(desk, list(jobs))
    assert many.is_alive()


@pytest.mark.usefixtures("many")
def test_hard_time_limits_free_the_keys(desk: Office, tmp_path: Path) -> None:
    """The process is ended, and the key is free long before its ttl of five minutes."""
    jobs = send_all(desk, "five_minutes_hard_limit", keys_of(desk), tmp_path / "never")
    wait_until_all_free(desk, list(jobs))
    for job in jobs.values():
        with pytest.raises(TimeLimitExceeded):
            job.get(timeout=PATIENCE)


@pytest.mark.newest
def test_many_leases_are_one_round_trip(desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path) -> None:
    """A thousand leases in four processes are renewed by the parent alone, together if they were taken together."""
    worker = hire_kept("worker", queues=["many"], concurrency=4)
    worker.start()
    keys = [f"{desk.key}-{number}" for number in range(4)]
    for key in keys:
        desk.app.send_task("holds_many", (key, "many", 250, str(tmp_path / "end")), queue="many")
    for key in keys:
        wait_until(lambda key=key: desk.journal.events("full", key), f"{key} to hold its locks", PATIENCE)
    began = min(desk.journal.runs(key)[0].start for key in keys)
    took = max(desk.journal.events("full", key)[0]["at"] for key in keys) - began
    # One trip, unless a busy machine took longer to take them all than those may be apart that go together.
    trips = 1 + int(took / (TOGETHER * 10.0))
    so_far = len(desk.journal.events("renewal", "renewal"))

    def renewals() -> list[dict]:
        return desk.journal.events("renewal", "renewal")[so_far:]

    def in_one() -> bool:
        return sum(each["leases"] for each in renewals()[-2 * trips :]) == 2 * 1004

    wait_until(in_one, "two renewals of all leases", 2 * PATIENCE)
    assert {each["pid"] for each in renewals()} == {worker.pid}
    (tmp_path / "end").touch()
    for key in keys:
        desk.journal.wait_for_runs(key, 1)


@pytest.mark.parametrize("soft", [0, 1])
def test_a_cold_shutdown_frees_the_keys(
    desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path, soft: int
) -> None:
    """What is interrupted is given back, long before its ttl of five minutes; so after a soft shutdown.

    What acknowledges late is in its queue again.
    """
    queue = f"broken-off-{next(_numbers)}"
    conf = {"worker_soft_shutdown_timeout": soft}
    worker = hire_kept("worker", conf, queues=[queue], concurrency=MANY)
    worker.start()
    keys = keys_of(desk)
    for number, key in enumerate(keys):
        task = ("five_minutes", "five_minutes_acks_late")[number % 2]
        desk.app.send_task(task, (key, "cut off", str(tmp_path / "never")), queue=queue)
    for key in keys:
        desk.journal.wait_for_start(key, "cut off")
    os.kill(worker.pid, signal.SIGQUIT)
    worker.wait_until_ended(60)
    wait_until_all_free(desk, keys)
    assert desk.waiting_in(queue) == MANY / 2
