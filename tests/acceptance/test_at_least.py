"""`lock_at_least` in real workers: a key stays taken, and those in line come when it does not any more."""

from __future__ import annotations

import itertools
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.office import PATIENCE, Office, only_redis

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.journal import Run

pytestmark = only_redis  # what is proved here lies between the worker and the store


def taken(run: Run) -> float:
    """A moment at which its job did not have the key yet: its body begins some time after it was taken."""
    return run.facts["taken"] - 0.01  # Redis counts whole milliseconds


def test_those_in_line_come_when_the_time_is_over(office: Office) -> None:
    """Two seconds after the start before each, and long before the countdown of a minute: nobody gives the key back."""
    jobs = [office.send("at_least", f"{number}") for number in range(3)]
    for job in jobs:
        job.get(timeout=PATIENCE)
    runs = office.journal.wait_for_runs(office.key, 3)
    gaps = [after.start - taken(before) for before, after in itertools.pairwise(runs)]
    assert all(2.0 <= gap < PATIENCE for gap in gaps), gaps
    assert [event["held"] for event in office.journal.events("lease", office.key)] == [True] * 3


@pytest.mark.parametrize("task", ["retry_at_least", "retry_at_least_skip"])
def test_a_retry_waits_for_it_too(office: Office, task: str) -> None:
    """It comes back after a second, meets the key of its own first try taken, and comes when that is over.

    In line it is called; one that is to be skipped when others have its key stands in none.
    """
    job = office.send(task, "retried", times=1)
    assert job.get(timeout=PATIENCE) == 2
    first, second = office.journal.wait_for_runs(office.key, 2)
    assert second.start - taken(first) >= 2.0


def test_the_key_of_a_job_that_was_killed_stays_taken(office: Office, tmp_path: Path) -> None:
    """Its worker frees it four seconds after the job's start, neither at once nor at the end of its ttl."""
    office.send("open_at_least", "killed", until=str(tmp_path / "never"))
    run = office.journal.wait_for_start(office.key, "killed")
    job = office.send("at_least", "next")
    os.kill(run.pid, signal.SIGKILL)
    assert job.get(timeout=PATIENCE) == "next"
    assert office.journal.wait_for_start(office.key, "next").start - taken(run) >= 4.0


def test_a_key_that_is_forced_is_free(office: Office) -> None:
    """However long it was to stay taken."""
    with office.locks.lock(office.key, at_least=3600):
        pass
    assert office.locks.locked(office.key)
    assert office.locks.force_release(office.key)
    assert office.send("at_least", "next").get(timeout=PATIENCE) == "next"
