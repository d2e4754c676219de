"""Jobs that hold a key together: up to three of them, or all that only read.

The countdown of these jobs is a minute: whoever runs before it is over was woken.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_redis
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
    """Jobs that read run side by side before and after one that does not, which is not left waiting."""
    kinds = "rrrrwrrrrwrrrr"
    for number, kind in enumerate(kinds):
        office.send("reads" if kind == "r" else "line", f"{kind}{number}", seconds=0.2)
    runs = office.journal.wait_for_runs(office.key, len(kinds), PATIENCE)
    assert crowding(stays(runs), 0) == []
    assert most_together(stays(runs)) > 1
    assert [run.job[0] for run in runs[-2:]] != ["w", "w"]


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
