"""`celery worker -B`: each worker carries a beat, in a process of its own, and one of them sends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from celery_locks.owner import Owner
from tests.acceptance.beats import KEY, SCHEDULER, Scene, each_second_once
from tests.acceptance.nodes import QUIET, start_all
from tests.acceptance.office import only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import System
    from tests.acceptance.nodes import Worker

EMBEDDED = (*QUIET, "-B", "--scheduler", SCHEDULER)


def leading(scene: Scene, crew: list[Worker]) -> Worker:
    """The worker whose beat leads, once one does."""

    def found() -> Worker | None:
        holder = scene.locks.holder(KEY)
        pid = Owner.of(holder.owner).pid if holder else None
        return next((each for each in crew if each.is_alive() and pid in each.children()), None)

    return wait_until(found, "the beat of a worker to lead", 30)


@only_redis
def test_of_the_beats_that_workers_carry_one_sends(system: System, hire: Callable[..., Worker]) -> None:
    """The lead is handed on when its worker ends well, and taken over when that is killed: nothing is sent twice."""
    scene = Scene(system.hub, system.vault.url, "embedded")
    options = {"queues": ["elsewhere"], "module": "tests.acceptance.scheduled", "concurrency": 1, "arguments": EMBEDDED}
    with contextlib.closing(scene):
        crew = [hire(name, scene.conf, **options) for name in ("eve", "fay")]
        start_all(crew)
        first = leading(scene, crew)
        scene.wait_for_more(2)
        first.stop()
        assert f"gave back the lead '{KEY}'" in first.log()
        second = leading(scene, crew)
        assert second is not first
        first.start()
        scene.wait_for_more(2)
        second.kill()
        assert leading(scene, crew) is first
        scene.wait_for_more(2)
        each_second_once(scene)


@only_redis
def test_the_letter_that_means_something_else_to_a_worker(system: System, hire: Callable[..., Worker]) -> None:
    """Told by -S, as a beat is, a worker would have Celery's own scheduler send: it says what to write, and ends.

    No file of its state is left where it was started.
    """
    worker = hire("hal", system.conf, module="tests.acceptance.scheduled", arguments=(*QUIET, "-B", "-S", SCHEDULER))
    worker.spawn()
    assert worker.wait_until_ended() != 0
    assert f"write --scheduler {SCHEDULER}" in worker.log_tail(1)
    assert list(worker.directory.glob(f"{SCHEDULER}*")) == []
