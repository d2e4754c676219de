"""Workers that die, are refused or get a job twice: nothing is lost, and nothing overlaps."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from celery.exceptions import WorkerLostError

from celery_locks import LockTimeout
from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_rabbitmq, only_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.nodes import Worker

MANY = 20


@pytest.fixture
def faulty(hire: Callable[..., Worker], tmp_path: Path) -> Iterator[Callable[[str, str], Worker]]:
    """Makes a worker that fails in this way whenever it puts a job back, until disarmed."""
    armed = tmp_path / "armed"

    def new(fault: str, queue: str) -> Worker:
        armed.touch()
        environment = {"ACCEPTANCE_FAULT": fault, "ACCEPTANCE_ARMED": str(armed)}
        return hire("faulty", queues=[queue], module="tests.acceptance.faulty", environment=environment)

    yield new
    armed.unlink(missing_ok=True)


@pytest.mark.parametrize("when", ["before", "after"])
@only_rabbitmq
def test_killed_while_putting_a_job_back(
    desk: Office, hire: Callable[..., Worker], faulty: Callable[[str, str], Worker], when: str
) -> None:
    """A job is not lost with a worker that is killed right before or right after it published the re-queue.

    Killed before, its message comes again; killed after, there are two messages, which run one after the other.
    """
    queue = f"killed-{when}"
    dying = faulty(f"die {when}", queue)
    dying.start()
    with desk.taken():
        job = desk.send("acks_late", "survives", queue=queue)
        dying.wait_until_ended()
        hire("heir", queues=[queue]).start()
        # Without this the test would pass on a worker that died for another reason.
        desk.wait_for_messages("survives", 2 if when == "before" else 3)
    assert job.get(timeout=PATIENCE) == "survives"
    runs = desk.journal.wait_for_runs(desk.key, 1 if when == "before" else 2)
    judge(runs, ["survives"] * (1 if when == "before" else 2))
    assert {run.facts["id"] for run in runs} == {job.id}


@pytest.mark.parametrize("task", ["work", "acks_late"])
@only_rabbitmq
def test_killed_with_a_waiting_job_in_hand(desk: Office, hire: Callable[..., Worker], task: str) -> None:
    """A worker killed while it keeps a job that waits for its key: another worker gets that job, and runs it once."""
    queue = f"in-hand-{task}"
    victim, heir = hire("victim", {"lock_countdown": 3}, queues=[queue]), hire("heir", queues=[queue])
    victim.start()
    with desk.taken():
        job = desk.send(task, "in hand", queue=queue)
        desk.wait_until_waiting(job)
        desk.wait_for_messages("in hand", 2)
        victim.kill()
    heir.start()
    assert job.get(timeout=PATIENCE) == "in hand"
    judge(desk.journal.runs(desk.key), ["in hand"])


@only_rabbitmq
def test_a_refused_requeue_of_a_late_acknowledged_job(
    desk: Office, faulty: Callable[[str, str], Worker], tmp_path: Path
) -> None:
    """The broker refuses the re-queue: a job that acknowledges late is put back by the broker, and runs in time."""
    faulty("refuse", "refused-late").start()
    with desk.taken():
        job = desk.send("acks_late", "put back", queue="refused-late")
        messages = desk.wait_for_messages("put back", 3)
        assert not any("lock_since" in message["headers"] for message in messages[:3]), "the broker put it back, not we"
        (tmp_path / "armed").unlink()
        desk.wait_until_waiting(job)
    assert job.get(timeout=PATIENCE) == "put back"
    judge(desk.journal.runs(desk.key), ["put back"])


@only_rabbitmq
def test_a_refused_requeue_of_an_acknowledged_job(desk: Office, faulty: Callable[[str, str], Worker]) -> None:
    """The broker refuses the re-queue of a job it has already forgotten: it ends failed, saying why and what to do."""
    faulty("refuse", "refused-early").start()
    with desk.taken() as lease, pytest.raises(LockTimeout, match="could not be put back on its queue") as failure:
        desk.send("work", "reported", queue="refused-early").get(timeout=PATIENCE)
    assert "the broker takes nothing now" in str(failure.value)
    assert "acks_late" in str(failure.value)
    assert (failure.value.key, failure.value.holder) == (desk.key, lease.owner)
    assert desk.journal.runs(desk.key) == []


@only_rabbitmq
def test_a_worker_killed_in_mid_job(desk: Office, hire: Callable[..., Worker]) -> None:
    """SIGKILL for a worker with a job under way: its key is free within one ttl, and the job runs again."""
    victim, heir = hire("victim", queues=["kill"]), hire("heir", queues=["kill"])
    victim.start()
    job = desk.send("short_lease_acks_late", "killed", queue="kill", seconds=3)
    desk.journal.wait_for_start(desk.key, "killed")
    heir.spawn()
    killed_at = time.monotonic()
    victim.kill()
    heir.wait_until_ready()
    assert job.get(timeout=PATIENCE) == "killed"
    runs = desk.journal.runs(desk.key)
    judge(runs, ["killed"] * 2, ended=lambda run: run.end or killed_at)
    assert runs[1].start - killed_at > 0.1, "the second run did not take its key by force"
    assert {run.facts["id"] for run in runs} == {job.id}


@only_rabbitmq
def test_a_dead_workers_key_is_taken_over_after_its_ttl(desk: Office, hire_kept: Callable[..., Worker]) -> None:
    """A contender begins one ttl after its key's holder was killed, and not before, and not some ttls later."""
    victim, heir = (hire_kept(name, queues=[name]) for name in ("dying", "taking-over"))
    start_all([victim, heir])
    desk.send("fifteen_seconds", "killed", queue="dying", seconds=300)
    ttl = desk.journal.wait_for_start(desk.key, "killed").facts["ttl"]
    contender = desk.send("work", "contender", queue="taking-over")
    desk.wait_until_waiting(contender)
    killed_at = time.monotonic()
    victim.kill()
    contender.get(timeout=4 * ttl)
    runs = desk.journal.runs(desk.key)
    judge(runs, ["killed", "contender"], ended=lambda run: run.end or killed_at)
    assert runs[1].start - killed_at > 0.1, "the contender did not take its key by force"
    # The machine may be late by two ttls, which are as long as the patience of other tests.
    assert runs[1].start - killed_at < 3 * ttl


@only_rabbitmq
def test_a_pool_process_killed_in_mid_job(desk: Office, hire: Callable[..., Worker]) -> None:
    """SIGKILL for the pool process alone: the broker gives the job to another one, which waits for the key."""
    worker = hire("worker", queues=["kill-child"])
    worker.start()
    job = desk.send("short_lease_acks_late", "killed", queue="kill-child", seconds=2)
    first = desk.journal.wait_for_start(desk.key, "killed")
    killed_at = time.monotonic()
    os.kill(first.pid, signal.SIGKILL)
    assert job.get(timeout=PATIENCE) == "killed"
    runs = desk.journal.runs(desk.key)
    judge(runs, ["killed"] * 2, ended=lambda run: run.end or killed_at)
    assert worker.is_alive()


@only_redis
def test_redelivered_copies_of_running_jobs_wait(desk: Office, hire: Callable[..., Worker], tmp_path: Path) -> None:
    """A copy of a running job, with the same id, waits like any other job: a key's owner is an execution.

    A visibility timeout shorter than the job brings it to a free process, of this worker or of the other.
    """
    # Each copy asks once, and then waits for its turn.
    conf = {"lock_countdown": 60.0}
    workers = [hire(name, conf, queues=["visibility"], concurrency=MANY) for name in ("one", "two")]
    start_all(workers)
    keys = [f"{desk.key}-{number}" for number in range(MANY)]
    end = str(tmp_path / "end")
    jobs = {key: desk.app.send_task("open", (key, "long", end), queue="visibility") for key in keys}
    for key in keys:
        desk.journal.wait_for_start(key, "long")
    desk.copy_running({key: job.id for key, job in jobs.items()}, workers)
    assert [len(desk.journal.runs(key)) for key in keys] == [1] * MANY
    (tmp_path / "end").touch()
    for key in keys:
        runs = desk.journal.wait_for_runs(key, 2, PATIENCE)
        judge(runs, ["long"] * 2)
        assert {run.facts["id"] for run in runs} == {jobs[key].id}


@only_redis
def test_two_sent_with_one_id(office: Office) -> None:
    """Two jobs with one task id, sent twice by a client: two executions, one after the other."""
    first = office.send("work", "twin", seconds=0.5, options={"task_id": office.key})
    office.send("work", "twin", seconds=0.5, options={"task_id": office.key})
    runs = office.journal.wait_for_runs(office.key, 2)
    judge(runs, ["twin", "twin"])
    assert {run.facts["id"] for run in runs} == {first.id}


@only_redis
def test_a_lost_job_of_a_dead_process_is_reported(desk: Office, hire: Callable[..., Worker]) -> None:
    """A job acknowledged early whose pool process is killed ends failed: reported, and its key is free."""
    worker = hire("worker", queues=["reported"])
    worker.start()
    job = desk.send("short_lease", "killed", queue="reported", seconds=30)
    os.kill(desk.journal.wait_for_start(desk.key, "killed").pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError):
        job.get(timeout=PATIENCE)
    desk.wait_until_free()
    assert desk.send("work", "next", queue="reported").get(timeout=PATIENCE) == "next"
