"""Jobs that hold a key together: up to three of them, or all that only read.

The countdown of these jobs is a minute: whoever runs before it is over was woken.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from celery.bin.base import CLIContext

from celery_locks.cli import locks as command
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.commands import run
from tests.judging import Stay, crowding, most_together
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.journal import Run
    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is proved here lies between the worker and the store


def stays(runs: list[Run]) -> list[Stay]:
    return [Stay(run.start, run.end or run.start, run.fence, run.job) for run in runs]


def test_three_of_four_processes_work_at_once(office: Office) -> None:
    """Twelve jobs with three slots: all three are used, never more, and each job runs once, woken by one before it."""
    for number in range(12):
        office.send("slots", f"s{number}", seconds=0.3)
    runs = office.journal.wait_for_runs(office.key, 12, PATIENCE)
    assert sorted(run.job for run in runs) == sorted(f"s{number}" for number in range(12))
    assert crowding(stays(runs), 3) == []
    assert most_together(stays(runs)) == 3
    office.wait_until_free()


def test_readers_go_together_and_a_writer_alone(office: Office) -> None:
    """Jobs that read run side by side before and after one that does not.

    In which order they get in line is their workers' doing; that a writer in line is not overtaken is the next test's.
    """
    kinds = "rrrrwrrrrwrrrr"
    for number, kind in enumerate(kinds):
        office.send("reads" if kind == "r" else "line", f"{kind}{number}", seconds=0.2)
    runs = office.journal.wait_for_runs(office.key, len(kinds), PATIENCE)
    assert crowding(stays(runs), 0) == []
    assert most_together(stays(runs)) > 1


def test_a_writer_that_waits_is_before_readers_that_come(office: Office, tmp_path: Path) -> None:
    """A reader that comes while one writer waits for another reader runs after the writer, and not beside the first."""
    doors = [tmp_path / name for name in "ab"]
    office.send("reads_open", "r0", until=str(doors[0]))
    running(office, 1)
    office.send("line", "w1")
    office.wait_for_line(1)
    for number in (2, 3):
        office.send("reads_open", f"r{number}", until=str(doors[1]))
        office.wait_for_line(number)
    doors[0].touch()
    running(office, 4)
    doors[1].touch()
    runs = office.journal.wait_for_runs(office.key, 4, PATIENCE)
    assert [run.job for run in runs[:2]] == ["r0", "w1"]
    assert crowding(stays(runs), 0) == []
    assert most_together(stays(runs)) == 2


def test_a_dead_process_frees_its_slot(desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path) -> None:
    """SIGKILL for one of three that hold a key: the one that waits has its slot at once, and the others keep theirs."""
    start_all([hire_kept(name, queues=[f"crowd-{name}"]) for name in ("ann", "bob")])
    end = tmp_path / "end"
    for number in range(4):
        desk.send("five_minutes_slots", f"s{number}", queue=f"crowd-{('ann', 'bob')[number % 2]}", until=str(end))
    wait_until(lambda: len(desk.journal.runs(desk.key)) == 3, "three to run", PATIENCE)
    desk.wait_for_line(1)
    runs = desk.journal.runs(desk.key)
    os.kill(runs[0].pid, signal.SIGKILL)
    wait_until(lambda: len(desk.journal.runs(desk.key)) == 4, "the fourth to run", PATIENCE)
    holders = {holding.owner for holding in desk.locks.holders(desk.key)}
    assert holders == {run.facts["owner"] for run in desk.journal.runs(desk.key)[1:]}
    end.touch()
    desk.wait_until_free()
    assert [event["held"] for event in desk.journal.events("lease", desk.key)] == [True] * 3


def test_an_operator_changes_the_number_while_they_run(
    desk: Office, hire: Callable[..., Worker], tmp_path: Path
) -> None:
    """`celery locks slots`: who waits comes at once where there are more; where less, once enough have left."""
    hire("wide", queues=["wide-slots"], concurrency=6).start()
    doors = [tmp_path / f"door {number}" for number in range(6)]
    for number, door in enumerate(doors[:5]):
        desk.send("slots_open", f"s{number}", queue="wide-slots", until=str(door))
    running(desk, 3)
    desk.wait_for_line(2)
    [told] = slots(desk, 4)
    # The next may have come before its holders were counted.
    assert told["slots"] == 4
    running(desk, 4)
    desk.wait_for_line(1)
    assert slots(desk, 2) == [{"key": desk.key, "slots": 2, "held": 4}]
    first = [int(run.job[1:]) for run in desk.journal.runs(desk.key)]
    left(desk, doors, first[:3])
    comes_after(desk, 5, first[2])
    assert slots(desk, "--unset") == [{"key": desk.key, "slots": None, "held": 2}]
    desk.send("slots_open", "s5", queue="wide-slots", until=str(doors[5]))
    running(desk, 6)
    left(desk, doors, [each for each in range(6) if each not in first[:3]])
    desk.wait_until_free()


def test_a_deployment_changes_the_number_while_they_run(
    desk: Office, hire: Callable[..., Worker], tmp_path: Path
) -> None:
    """Workers with the old setting and with the new one: each claim goes by what its worker says, up or down."""
    start_all(
        [
            hire(f"slots-{number}", {"task_annotations": {"slots_open": {"lock_slots": number}}}, queues=[f"{number}"])
            for number in (2, 4)
        ]
    )
    doors = [tmp_path / f"door {number}" for number in range(5)]
    for number, queue in enumerate("2244"):
        desk.send("slots_open", f"s{number}", queue=queue, until=str(doors[number]))
        running(desk, number + 1)
    # The worker with the old setting has no process free before one of its jobs is done: those of the other go on.
    left(desk, doors, [0])
    desk.send("slots_open", "s4", queue="2", until=str(doors[4]))
    desk.wait_for_line(1)
    left(desk, doors, [1, 2])
    comes_after(desk, 5, 2)
    left(desk, doors, [3, 4])
    desk.wait_until_free()
    runs = desk.journal.runs(desk.key)
    assert sorted(run.job for run in runs) == [f"s{number}" for number in range(5)]
    assert most_together(stays(runs)) == 4


def slots(office: Office, number: int | str) -> list[dict[str, object]]:
    """What `celery locks slots` says."""
    context = CLIContext(office.app, no_color=True, workdir=None)
    return run(command, "--store", office.vault.url, "slots", office.key, number, "--json", obj=context).said


def running(office: Office, count: int) -> None:
    """Until so many have begun, whose countdown is a minute."""
    wait_until(lambda: len(office.journal.runs(office.key)) == count, f"run {count} to begin", PATIENCE)


def left(office: Office, doors: list[Path], numbers: list[int]) -> None:
    """Have these end, one after the other."""
    for number in numbers:
        doors[number].touch()
        wait_until(lambda number=number: ended(office, number), f"job {number} to end", PATIENCE)


def ended(office: Office, number: int) -> float | None:
    return next((run.end for run in office.journal.runs(office.key) if run.job == f"s{number}"), None)


def comes_after(office: Office, count: int, number: int) -> None:
    """The last of so many begins, and not before this one has ended."""
    running(office, count)
    assert office.journal.runs(office.key)[-1].start > (ended(office, number) or 0)
