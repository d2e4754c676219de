"""Tasks that know nothing of locks, in real workers: by `lock_tasks` they do all that a `LockedTask` does."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from celery_locks import LockLost, install
from tests.acceptance.journal import judge
from tests.acceptance.nodes import Worker
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery.result import AsyncResult

    from tests.acceptance.conftest import System

pytestmark = only_redis  # what is proved here lies between the worker and the store


@pytest.fixture(scope="module")
def foreign(system: System) -> Iterator[Worker]:
    """A prefork worker of an app whose tasks are all plain ones."""
    worker = Worker(
        "foreign", system.conf, system.journal, queues=["foreign"], module="tests.acceptance.foreign", concurrency=3
    )
    worker.start()
    yield worker
    worker.close()


@pytest.fixture
def bureau(desk: Office, foreign: Worker) -> Office:
    assert foreign.is_alive()
    return desk


@pytest.mark.parametrize("task", ["work", "own_call", "by_class", "shared"])
def test_its_jobs_run_one_at_a_time(bureau: Office, task: str) -> None:
    """Those that meet their key taken wait in line and are called, long before their countdown of a minute."""
    jobs = [bureau.send(f"foreign.{task}", f"{number}", queue="foreign", seconds=0.2) for number in range(4)]
    assert [job.get(timeout=PATIENCE) for job in jobs] == ["0", "1", "2", "3"]
    judge(bureau.journal.runs(bureau.key), ["0", "1", "2", "3"])
    assert [event["held"] for event in bureau.journal.events("lease", bureau.key)] == [True] * 4
    if own := {"own_call": "called", "by_class": "accepted"}.get(task):
        # The worker may hear of a job after its result is there.
        wait_until(lambda: len(bureau.journal.events(own, bureau.key)) >= 4, f"four to be {own}", PATIENCE)


def test_its_retries_are_its_own(bureau: Office) -> None:
    """autoretry_for: each try has a lease of its own, and waiting for a key in between spends none."""
    job = bureau.send("foreign.autoretry", "retried", queue="foreign", times=1)
    bureau.journal.wait_for_runs(bureau.key, 1)
    with bureau.taken():
        bureau.wait_for_messages("retried", 3)
    assert job.get(timeout=PATIENCE) == 2
    runs = bureau.journal.runs(bureau.key)
    assert [run.facts["seen"]["retries"] for run in runs] == [0, 1]
    assert len({run.facts["owner"] for run in runs}) == 2


def test_its_lease_is_kept_by_the_workers_main_process(bureau: Office) -> None:
    """A C call that lets no other thread run for two ttls loses nothing."""
    jobs = [
        bureau.send("foreign.short_holds_the_interpreter", "first", queue="foreign", seconds=5.0),
        bureau.send("foreign.work", "second", queue="foreign"),
    ]
    assert [job.get(timeout=PATIENCE) for job in jobs] == ["first", "second"]
    judge(bureau.journal.runs(bureau.key), ["first", "second"])
    assert [event["held"] for event in bureau.journal.events("lease", bureau.key)] == [True, True]


def test_its_job_is_stopped_when_its_lease_is_lost(bureau: Office) -> None:
    """By LockLost, in a sleep of a minute."""
    job = bureau.send("foreign.short_work", "stopped", queue="foreign", seconds=60.0)
    bureau.journal.wait_for_start(bureau.key, "stopped")
    assert bureau.locks.force_release(bureau.key)
    with pytest.raises(LockLost):
        job.get(timeout=PATIENCE)


def test_its_key_is_free_when_its_process_dies(bureau: Office, tmp_path: Path) -> None:
    """Long before its ttl of five minutes."""
    bureau.send("foreign.open", "killed", queue="foreign", until=str(tmp_path / "never"))
    run = bureau.journal.wait_for_start(bureau.key, "killed")
    assert bureau.locks.holder(bureau.key).owner == run.facts["owner"]
    os.kill(run.pid, signal.SIGKILL)
    bureau.wait_until_free()
    assert bureau.locks.holder(bureau.key) is None


def test_its_job_is_sent_once(bureau: Office, tmp_path: Path) -> None:
    """Its sender knows it as a plain task too: a second send gives the first's result, until that has ended or died."""
    app, door, place = bureau.app, tmp_path / "door", f"unique:foreign.single:{bureau.key}"
    app.conf.lock_tasks = {"foreign.single": {"key": "{key}", "ttl": 60.0, "unique": "until_done"}}
    app.conf.lock_store = bureau.vault.url
    install(app)

    @app.task(name="foreign.single", shared=False)
    def single(key: str, job: str, until: str) -> None:
        raise NotImplementedError("it runs in a worker")

    def send(job: str, until: Path) -> AsyncResult:
        return single.apply_async(kwargs={"key": bureau.key, "job": job, "until": str(until)}, queue="foreign")

    first = send("first", door)
    bureau.journal.wait_for_start(bureau.key, "first")
    assert send("second", door).id == first.id
    door.touch()
    assert first.get(timeout=PATIENCE) == "first"
    wait_until(lambda: not bureau.locks.locked(place), "its place to be free", PATIENCE)
    third = send("third", tmp_path / "never")
    assert third.id != first.id
    os.kill(bureau.journal.wait_for_start(bureau.key, "third").pid, signal.SIGKILL)
    wait_until(lambda: not bureau.locks.locked(place), "the place of the dead to be free", PATIENCE)
    assert bureau.journal.jobs(bureau.key) == ["first", "third"]


def test_what_matches_nothing_is_warned_about(bureau: Office, foreign: Worker) -> None:
    """At the worker's start; Celery's own tasks are matched by no glob, and none of them is locked."""
    log = foreign.log()
    assert bureau.key
    assert log.count("matches no task of this worker") == 1
    assert "lock_tasks['foreign.none_such'] matches no task of this worker, and locks nothing" in log
