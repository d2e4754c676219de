"""What the holders of a worker's pool do at this moment, as its main process tells it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # it is asked as all of Celery's inspection is


def test_what_a_pools_jobs_do_is_told_and_harms_none(
    desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path
) -> None:
    """Of one that sleeps, one that lets nothing else of its process run, and one whose process is new.

    A stopped process says nothing, and the answer says why. However often they are asked, the jobs end well: a system
    call that the question met goes on by itself.
    """
    worker = hire_kept("worker", queues=["told"])
    worker.start()
    until, pipe = tmp_path / "until", tmp_path / "pipe"
    os.mkfifo(pipe)
    sleeps = desk.send("five_minutes", "sleeps", queue="told", until=str(until))
    began = desk.journal.wait_for_start(desk.key, "sleeps")
    key, desk.key = desk.key, f"{desk.key}-held"
    reads = desk.send("reads_with_the_interpreter_held", "reads", queue="told", pipe=str(pipe))
    desk.journal.wait_for_start(desk.key, "reads")

    def reading() -> bool:
        told = _told(desk, worker)
        assert _does(told[key], "stays_open") < _does(told[key], "wait_until")
        assert any("wait_until(Path(until).exists" in line for line in told[key]["stack"])
        stack = told[desk.key]["stack"]
        return "_C.read(" in stack[-1]

    wait_until(reading, "the job to read", PATIENCE)
    for _ in range(20):
        assert reading()

    os.kill(began.pid, signal.SIGSTOP)
    told = _told(desk, worker)[key]
    assert told["stack"] is None
    assert told["stack_unknown"].endswith("it is stopped")
    os.kill(began.pid, signal.SIGCONT)
    assert _does(_told(desk, worker)[key], "stays_open")

    until.touch()
    pipe.write_bytes(b"!")
    assert (sleeps.get(timeout=PATIENCE), reads.get(timeout=PATIENCE)) == ("sleeps", 1)

    os.kill(began.pid, signal.SIGKILL)
    wait_until(lambda: began.pid not in worker.children() and len(worker.children()) == 2, "a new process", PATIENCE)
    until.unlink()
    desk.key = f"{key}-new"
    jobs = [desk.send("five_minutes_slots", f"job {number}", queue="told", until=str(until)) for number in range(2)]
    pids = {desk.journal.wait_for_start(desk.key, f"job {number}").pid for number in range(2)}
    assert began.pid not in pids
    holds = _holds(desk, worker)
    assert {each["pid"] for each in holds} == pids
    assert all(_does(each, "stays_open") for each in holds)
    until.touch()
    assert [job.get(timeout=PATIENCE) for job in jobs] == ["job 0", "job 1"]


def _holds(desk: Office, worker: Worker) -> list[dict[str, Any]]:
    """What this worker answers to `celery inspect locks true`."""
    inspect = desk.app.control.inspect(destination=[worker.name], timeout=PATIENCE, limit=1)
    found: list[dict[str, Any]] = inspect._request("locks", stacks=True)[worker.name]["holds"]
    return found


def _told(desk: Office, worker: Worker) -> dict[str, dict[str, Any]]:
    return {each["keys"][0]: each for each in _holds(desk, worker)}


def _does(told: dict[str, Any], function: str) -> int:
    """Where in its stack a holder is in this function."""
    assert told["stack_unknown"] is None, told
    [at] = [at for at, line in enumerate(told["stack"]) if f"in {function}\n" in f"{line}\n"]
    return at
