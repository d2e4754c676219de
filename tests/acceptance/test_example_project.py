"""The bank of example_project: its show keeps what it promises, and its verdicts can fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from example_project import judge
from example_project.judge import Sent, Takeover
from example_project.ledger import Ledger, StaleFenceError
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PATIENCE = 150  # the show gives up by itself long before

LOCK_LEFT_OUT = """
from example_project import demo, judge, screen, tasks
with demo.bank(screen.PlainScreen()) as here:
    checks = list(demo.two_hundred(here, locked_job=tasks.withdraw_unlocked))
here.screen.table(checks)
raise SystemExit(judge.exit_code(checks))
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture
def show() -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs Python with these arguments to its end, and gives its exit code and what it wrote."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> tuple[int, str]:
        process = start(*arguments)
        started.append(process)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    yield run
    for process in started:
        # Asked, it stops its workers and its server; killed, it could not.
        process.terminate()
        process.communicate(timeout=30)


def verdicts(output: str) -> list[str]:
    """The last column of the closing table."""
    _, table = output.rsplit("\nstep ", 1)
    return [line.split()[-1] for line in table.splitlines()[1:-1]]


def test_the_show_keeps_every_promise(show: Callable[..., tuple[int, str]]) -> None:
    """`python -m example_project` ends well, with fifteen promises kept, and its locks live in its Valkey unasked."""
    code, output = show("-m", "example_project")
    assert "no lock_store is set" not in output, output
    assert verdicts(output) == ["ok"] * 15, output
    assert code == 0, output


def test_the_show_fails_when_the_lock_is_left_out(show: Callable[..., tuple[int, str]]) -> None:
    """With an unlocked job in the place of the locked one, real workers lose updates and the exit code says so."""
    code, output = show("-c", LOCK_LEFT_OUT)
    assert "LockedTask  no update is lost" in output, output
    assert "FAILED" in output, output
    assert code == 1, output


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(request_to_end: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C while workers run: the exit code is 130, and no process and no file of the show is left."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "example_project"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: list(tmp_path.glob("bank-*/teller-2*.log")), "a worker to start", 30)
        process.send_signal(request_to_end)
        output, _ = process.communicate(timeout=30)
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 130, output
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: not running_in(tmp_path), "the last killed process to be gone", 30)


def running_in(directory: Path) -> list[str]:
    """The processes whose command line names this directory, or whose environment does where that can be read."""
    listed = subprocess.run(["ps", "axeww", "-o", "command"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(directory) in line]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger of three good withdrawals: two wallets side by side, one job put back on the queue."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.open_accounts(range(1, 3), 10)
        with ledger.run("a", "w1", 1, fence=1), ledger.run("b", "w2", 2, fence=1):
            ledger.write(1, 9, fence=1)
            ledger.write(2, 9, fence=1)
        ledger.note_requeue("wallet:1", 1)
        with ledger.run("c", "w1", 1, fence=2):
            ledger.write(1, 8, fence=2)
        yield ledger


def failed(checks: list[judge.Check]) -> list[str]:
    return [check.expected for check in checks if not check.kept]


def overlap(ledger: Ledger) -> None:
    with ledger.run("d", "w1", 1, fence=3), ledger.run("e", "w2", 1, fence=4):
        ledger.write(1, 6, fence=4)


def lose(ledger: Ledger) -> None:
    with ledger.run("d", "w1", 1, fence=3):
        ledger.write(1, 8, fence=3)


def run_twice(ledger: Ledger) -> None:
    with ledger.run("c", "w1", 1, fence=3):
        ledger.write(1, 7, fence=3)


def repeat_a_fence(ledger: Ledger) -> None:
    with ledger.run("d", "w1", 1, fence=2):
        ledger.write(1, 7, fence=2)


def test_a_good_ledger_is_good(ledger: Ledger) -> None:
    """Nothing lost, nothing overlapping: every promise kept, exit code 0."""
    checks = judge.locked(ledger, Sent(jobs=3, amount=1, opening=10))
    assert failed(checks) == []
    assert judge.exit_code(checks) == 0


@pytest.mark.parametrize(
    ("spoil", "jobs", "broken"),
    [
        (overlap, 5, "no two runs overlap in a wallet"),
        (lose, 4, "no update is lost"),
        (run_twice, 4, "a job put back on the queue runs, once"),
        (repeat_a_fence, 4, "a later holder has a higher fence"),
    ],
)
def test_one_fault_in_the_ledger_fails_its_promise(
    ledger: Ledger, spoil: Callable[[Ledger], None], jobs: int, broken: str
) -> None:
    """One overlap, lost update, second run or repeated fence fails that promise alone, and the exit code is 1."""
    spoil(ledger)
    checks = judge.locked(ledger, Sent(jobs, amount=1, opening=10))
    assert failed(checks) == [broken]
    assert judge.exit_code(checks) == 1


@pytest.mark.parametrize(
    ("seconds", "after", "broken"),
    [
        ([0, 1, 2, 3], 2.9, []),
        ([0, 1, 3], 2.9, ["each second is audited once"]),
        ([0, 1, 1, 2], 2.9, ["each second is audited once"]),
        ([0], 2.9, ["each second is audited once"]),
        ([0, 1], 3.9, ["the other sends within a ttl, 3 s"]),
    ],
)
def test_an_audit_left_out_or_made_twice_fails(seconds: list[int], after: float, broken: list[str]) -> None:
    """And so does a lead that nobody takes."""
    audits = [datetime(2026, 1, 15, tzinfo=timezone.utc) + timedelta(seconds=each) for each in seconds]
    assert failed(judge.scheduled(audits, after, ttl=3)) == broken


def test_nothing_checked_is_a_failure() -> None:
    """A show that came to no verdict did not succeed."""
    assert judge.exit_code([]) == 1


def test_no_lost_update_without_a_lock_is_a_failure(ledger: Ledger) -> None:
    """The unlocked step must show the harm: without contention, the locked step would prove nothing."""
    assert judge.exit_code(judge.unlocked(ledger, Sent(jobs=3, amount=1, opening=10))) == 1


@pytest.mark.parametrize(
    ("free_after", "runs_again", "broken"),
    [
        (2.9, True, []),
        (3.9, True, ["the key is free within a ttl, 3 s"]),
        (2.9, False, ["the killed job runs again", "both are withdrawn once, one at a time"]),
    ],
)
def test_a_late_or_missing_takeover_fails(
    tmp_path: Path,
    free_after: float,
    runs_again: bool,  # noqa: FBT001 - a case of the table
    broken: list[str],
) -> None:
    """A key held longer than its ttl after the kill, or a killed job that never came back, is a broken promise."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.open_accounts(range(1, 3), 10)
        ledger.begin("first", "w1", 1, fence=1)
        ledger.note_killed(ledger.runs("first")[0])
        killed_at = time.monotonic() - free_after
        for job, fence in [("second", 2), ("first", 3)][: 1 + runs_again]:
            with ledger.run(job, "w2", 1, fence):
                ledger.write(1, ledger.balance(1) - 1, fence)
        seen = Takeover("first", "second", killed_at, killed_at + free_after, ttl=3, countdown=1)
        assert failed(judge.takeover(ledger, seen, Sent(jobs=2, amount=1, opening=10))) == broken


def test_a_stale_holder_cannot_write(ledger: Ledger) -> None:
    """The ledger refuses a fence lower than the one it saw, and the balance stays."""
    with pytest.raises(StaleFenceError):
        ledger.write(1, 100, fence=1)
    assert ledger.balance(1) == 8
