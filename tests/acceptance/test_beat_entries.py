"""An entry that never overlaps itself, whoever dies meanwhile, and whatever its task locks besides."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.acceptance.beats import Scene
from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import System
    from tests.acceptance.journal import Journal, Run
    from tests.acceptance.nodes import Worker

MODULE = "tests.acceptance.scheduled"


def under_way(journal: Journal, key: str, after: int) -> Run:
    """A run that goes on, and so many are before it."""

    def found() -> Run | None:
        runs = journal.runs(key)
        return runs[-1] if len(runs) > after and runs[-1].end is None else None

    return wait_until(found, f"a run under {key!r} to go on, after {after} others", 30)


@only_redis
def test_it_never_overlaps_itself_whoever_dies(system: System, hire: Callable[..., Worker]) -> None:
    """A run that outlasts its interval and its leader is overtaken by none, and one that is killed is followed."""
    entry = {"task": "report", "schedule": 0.5, "args": [1.5]}
    skips = {**entry, "args": [2.5], "lock": {"ttl": 3.0}}
    waits = {**entry, "schedule": 1.5, "lock": {"ttl": 3.0, "on_contention": "requeue"}}
    scene = Scene(system.hub, system.vault.url, "dies", beat_schedule={"fleeting": skips, "lasting": waits})
    scene.beats.pop()
    keys, journal = ["beat:fleeting", "beat:lasting"], system.journal
    with contextlib.closing(scene):
        crew = [hire(name, scene.conf, queues=["dies"], module=MODULE, concurrency=4) for name in ("ann", "bob")]
        start_all(crew)
        for beat in scene.beats:
            beat.start()
        under_way(journal, keys[0], 1)
        first = scene.leader()
        first.kill()
        assert scene.leader() is not first
        run = under_way(journal, keys[0], len(journal.runs(keys[0])))
        victim = next(each for each in crew if run.pid in each.children())
        began = {key: len(journal.runs(key)) for key in keys}
        victim.kill()
        died = time.monotonic()
        for key in keys:
            journal.wait_for_runs(key, began[key] + 1, 60)
        for key in keys:
            judge(journal.runs(key), ended=lambda each: each.end or died)


@only_redis
def test_its_task_may_lock_a_key_of_its_own(system: System, hire: Callable[..., Worker]) -> None:
    """Both keys are held while it runs: another entry of the same task waits for that of the task."""
    entry = {"task": "audit", "schedule": 0.5, "args": [0.7]}
    rival = {"task": "audit", "schedule": 2.0, "args": [0.1]}
    scene = Scene(
        system.hub, system.vault.url, "both", beat_schedule={"audit": {**entry, "lock": True}, "rival": rival}
    )
    del scene.beats[1:]
    with contextlib.closing(scene):
        worker = hire("cleo", scene.conf, queues=["both"], module=MODULE, concurrency=4)
        worker.start()
        [beat] = scene.beats
        beat.start()
        system.journal.wait_for_runs("ledger", 8, 40)
        beat.stop()
        runs = system.journal.runs("ledger")
        judge(runs)
        mine = [run for run in runs if run.facts["entry"] and run.facts["id"] in run.facts["entry"]]
        assert len(mine) >= 2
        assert len(runs) - len(mine) >= 2, "and those of the other entry, which took none"
