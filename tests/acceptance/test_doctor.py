"""The doctor beside running workers: hazards that are in them, and not in what is declared."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from celery.bin.base import CLIContext

from celery_locks import LockedTask
from celery_locks.cli import locks as command
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.commands import run
from tests.servers.clock import clock_ahead
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # workers are asked as all of Celery's inspection does

#: What the tests' servers are, without persistence and shared with everything; tasks that other tests declare; and a
#: broker that a busy machine had no time to ask.
KNOWN = [word for code in ("CL000", "CL103", "CL202", "CL206") for word in ("--ignore", code)]


def found(desk: Office, store: str, *words: object) -> list[dict[str, Any]]:
    """What `celery locks doctor` says of this store, and of the app that sends."""
    context = CLIContext(desk.app, no_color=True, workdir=None)
    ended = run(command, "--store", store, "doctor", "--json", *KNOWN, *words, obj=context)
    assert ended.err == ""
    return ended.said


@pytest.mark.skipif(sys.platform != "linux", reason="no other system lets a clock be set for one process")
def test_a_worker_whose_clock_is_wrong(
    office: Office, hire: Callable[..., Worker], tmp_path: Path, postgres_url: str
) -> None:
    """It is named beside a database's clock, a Redis server's and this machine's; those that are right are not.

    With workers whose clocks are right nothing is found.
    """
    stores = f"sql+{postgres_url}", office.vault.url, f"file://{tmp_path}/locks"
    assert [found(office, store, "--timeout", 1) for store in stores] == [[], [], []]
    worker = hire("wrong", queues=["wrong"], environment=clock_ahead(90, tmp_path))
    worker.start()
    for store in stores:
        # One that is busy answers the next time.
        said = wait_until(partial(told_of_one, office, store), "the worker to be found", PATIENCE)
        assert (said["code"], said["severity"], said["what"].count(" of it")) == ("CL004", "warning", 1)
        name, _, ahead = said["what"].rpartition(": ")[2].partition(" is ")
        assert (name, 85 < float(ahead.split()[0]) < 95) == (worker.name, True)


def told_of_one(desk: Office, store: str) -> dict[str, Any] | None:
    """The one finding, if there is any."""
    said = found(desk, store, "--timeout", 1)
    assert len(said) <= 1
    return said[0] if said else None


def line(key: str, job: str) -> None:
    """As the workers have it, for the app that sends."""


@pytest.mark.newest
def test_more_jobs_wait_than_a_worker_may_hold(desk: Office, hire: Callable[..., Worker]) -> None:
    """An error once as many stand in line: a job whose key is free stays in the queue until one of them had its turn.

    A note before and after.
    """
    limit = {"worker_eta_task_limit": 2}
    desk.app.conf.update(limit)
    desk.app.task(base=LockedTask, shared=False, name="line", lock_key="{key}", time_limit=60)(line)
    store = desk.vault.url
    worker = hire("full", limit, queues=["full"])
    worker.start()

    def severity() -> str:
        [said] = found(desk, store, "--timeout", 0)
        assert said["code"] == "CL108"
        return str(said["severity"])

    assert severity() == "note"
    with desk.taken():
        jobs = [desk.send("line", f"waits {number}", queue="full") for number in range(2)]
        desk.wait_for_line(2)
        assert severity() == "error"
        free = desk.app.send_task("line", kwargs={"key": f"{desk.key}-free", "job": "free"}, queue="full")
        wait_until(lambda: desk.waiting_in("full") == 1, "a job whose key is free to be left in the queue", PATIENCE)
    assert [job.get(timeout=PATIENCE) for job in [*jobs, free]] == ["waits 0", "waits 1", "free"]
    assert severity() == "note"
