"""Workers that are asked to end: what runs is finished under its lock, what waits goes elsewhere."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import celery
import pytest

from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

#: Pools whose jobs no shutdown can break off. A worker that is its own pool could not, before shutdowns were soft.
RUN_ON = ["threads"] if celery.VERSION >= (5, 5) else ["threads", "solo"]


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "solo"])
@only_redis
def test_a_warm_shutdown(desk: Office, hire: Callable[..., Worker], tmp_path: Path, pool: str) -> None:
    """A worker that was asked to end keeps its job's key, for ttls, until that job is done.

    A contender at another worker begins after it, and the ended worker leaves no lock behind.
    """
    ending, other = (hire(name, pool=pool, queues=[f"{name}-{pool}"]) for name in ("ending", "other"))
    start_all([ending, other])
    job = desk.send("open_short_lease", "last", queue=f"ending-{pool}", until=str(tmp_path / "end"))
    run = desk.journal.wait_for_start(desk.key, "last")
    contender = desk.send("work", "contender", queue=f"other-{pool}")
    desk.wait_until_waiting(contender)
    os.kill(ending.pid, signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in ending.log(), f"{ending} to begin its end", PATIENCE)
    so_far = len(desk.wait_for_messages("contender", 1))
    # Fifteen times the re-queue delay of 0.2 s are two ttls of the job.
    desk.wait_for_messages("contender", so_far + 15)
    assert desk.locks.holder(desk.key).owner == run.facts["owner"]
    assert ending.is_alive()
    (tmp_path / "end").touch()
    assert contender.get(timeout=PATIENCE) == "contender"
    assert ending.wait_until_ended() == 0
    assert job.get(timeout=PATIENCE) == "last"
    judge(desk.journal.runs(desk.key), ["last", "contender"])
    desk.wait_until_free()


def test_what_waits_in_an_ended_worker_goes_to_another(desk: Office, hire: Callable[..., Worker]) -> None:
    """A worker ends while it keeps a job until its next try: another worker gets that job, and runs it once."""
    ending, heir = hire("ending", {"lock_countdown": 3}, queues=["ending"]), hire("heir", queues=["ending"])
    ending.start()
    with desk.taken():
        jobs = [desk.send(task, task, queue="ending") for task in ("work", "acks_late")]
        for job in ("work", "acks_late"):
            desk.wait_for_messages(job, 2)
        wait_until(lambda: ending.log().count(" retry: Retry in") >= 2, f"{ending} to be done with both", PATIENCE)
        # A result that comes just as it begins to end may get stuck in a worker of Celery 5.4, half a minute long.
        desk.wait_until_idle(ending)
        ending.stop()
        heir.start()
        desk.wait_for_messages("work", 3)
    assert [job.get(timeout=PATIENCE) for job in jobs] == ["work", "acks_late"]
    judge(desk.journal.runs(desk.key), ["work", "acks_late"])


@pytest.mark.newest
@pytest.mark.parametrize("soft", [0, 1])
@only_redis
def test_what_a_cold_shutdown_breaks_off_frees_its_key(
    desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path, soft: int
) -> None:
    """So where it is in one process with its worker: long before its ttl of five minutes."""
    queue = f"cold-solo-{soft}"
    worker = hire_kept("worker", {"worker_soft_shutdown_timeout": soft}, pool="solo", queues=[queue])
    worker.start()
    desk.send("five_minutes", "cut off", queue=queue, until=str(tmp_path / "never"))
    desk.journal.wait_for_start(desk.key, "cut off")
    os.kill(worker.pid, signal.SIGQUIT)
    worker.wait_until_ended(60)
    desk.wait_until_free()
    assert desk.locks.holder(desk.key) is None


@pytest.mark.parametrize("pool", RUN_ON)
@only_redis
def test_what_a_cold_shutdown_lets_run_keeps_its_key(
    desk: Office, hire: Callable[..., Worker], tmp_path: Path, pool: str
) -> None:
    """A thread cannot be ended: its worker stays until the job is done, and renews its lease for ttls."""
    worker = hire("worker", pool=pool, queues=[f"cold-{pool}"])
    worker.start()
    desk.send("open_short_lease", "runs on", queue=f"cold-{pool}", until=str(tmp_path / "end"))
    run = desk.journal.wait_for_start(desk.key, "runs on")
    os.kill(worker.pid, signal.SIGQUIT)
    wait_until(lambda: time.monotonic() > run.start + 3.2, "two ttls to be over", PATIENCE, interval=0.1)
    assert desk.locks.holder(desk.key).owner == run.facts["owner"]
    (tmp_path / "end").touch()
    worker.wait_until_ended(60)
    assert not desk.locks.locked(desk.key)
    [run] = desk.journal.runs(desk.key)
    assert run.end is not None
