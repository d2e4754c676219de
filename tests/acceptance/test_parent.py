"""What the main process of a worker does for the leases of its pool."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is proved here lies between the worker and the store


@pytest.fixture
def hire_kept(hire: Callable[..., Worker]) -> Callable[..., Worker]:
    """Makes workers that know the jobs of this module."""

    def new(name: str, conf: dict | None = None, **options: object) -> Worker:
        return hire(name, conf, module="tests.acceptance.stubborn", **options)

    return new


def test_a_job_that_holds_the_interpreter_keeps_its_key(desk: Office, hire_kept: Callable[..., Worker]) -> None:
    """A C call that lets no other thread run, for four ttls, loses nothing: a contender elsewhere begins after it."""
    holder, other = hire_kept("holder", queues=["holder"]), hire_kept("other", queues=["other"])
    start_all([holder, other])
    job = desk.send("holds_the_interpreter", "stubborn", queue="holder", seconds=4.0)
    desk.journal.wait_for_start(desk.key, "stubborn")
    contender = desk.send("work", "contender", queue="other")
    assert (job.get(timeout=PATIENCE), contender.get(timeout=PATIENCE)) == ("stubborn", "contender")
    runs = desk.journal.runs(desk.key)
    judge(runs, ["stubborn", "contender"])
    assert runs[0].end is not None
    assert runs[0].end - runs[0].start > 3.9
    assert [event["held"] for event in desk.journal.events("lease", desk.key)] == [True, True]
    assert "does not renew our leases" not in holder.log()


@pytest.mark.parametrize("task", ["five_minutes", "five_minutes_without_beat"])
def test_a_dead_process_frees_its_key(
    desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path, task: str
) -> None:
    """SIGKILL for a process of the pool: its key is free at once, long before its ttl of five minutes."""
    worker = hire_kept("worker", queues=["dying"])
    worker.start()
    for turn in range(20):
        desk.send(task, f"killed {turn}", queue="dying", until=str(tmp_path / "never"))
        run = desk.journal.wait_for_start(desk.key, f"killed {turn}")
        assert desk.locks.holder(desk.key).owner == run.facts["owner"]
        os.kill(run.pid, signal.SIGKILL)
        desk.wait_until_free()
    wait_until(lambda: worker.log().count("given back") == 20, "the worker to say so", PATIENCE)
    assert worker.is_alive()
