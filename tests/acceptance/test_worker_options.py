"""Workers that are started in other ways, and jobs of one key that outlast their countdown unless they are woken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.journal import judge
from tests.acceptance.nodes import QUIET, start_all
from tests.acceptance.office import PATIENCE, Office, only_redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.nodes import Worker

NAMES = [f"job {number}" for number in range(20)]
#: Hardly one goes back more than once.
FEW = 1.5 * len(NAMES)


def requeues_of(desk: Office, queue: str) -> int:
    """How often jobs that come all at once went back. Each runs once, one at a time."""
    for name in NAMES:
        desk.job("line", name, queue=queue, seconds=0.05).apply_async()
    runs = desk.journal.wait_for_runs(desk.key, len(NAMES), 2 * PATIENCE)
    judge(runs, NAMES)
    return sum(run.facts["requeues"] for run in runs)


@only_redis
def test_workers_that_grow_and_shrink(desk: Office, hire: Callable[..., Worker]) -> None:
    """With --autoscale jobs wait while a process more is started, and are called as ever."""
    workers = [hire(name, queues=["scaled"], arguments=["--autoscale=2,1", *QUIET]) for name in ("ann", "bob")]
    start_all(workers)
    assert requeues_of(desk, "scaled") <= FEW
    assert any("Scaling up" in worker.log() for worker in workers), "no worker grew: this run proves nothing"


def test_workers_that_greet_each_other(desk: Office, hire: Callable[..., Worker]) -> None:
    """With gossip and mingle, as workers are by default."""
    start_all([hire(name, queues=["greeted"], arguments=()) for name in ("ann", "bob")])
    assert requeues_of(desk, "greeted") <= FEW


def test_workers_that_take_one_message_at_a_time(desk: Office, hire: Callable[..., Worker]) -> None:
    """With worker_prefetch_multiplier=1 and one process each, a line is shared by two workers."""
    conf = {"worker_prefetch_multiplier": 1}
    start_all([hire(name, conf, concurrency=1, queues=["singly"]) for name in ("ann", "bob")])
    assert requeues_of(desk, "singly") <= FEW


@pytest.mark.newest
def test_workers_of_eventlet(desk: Office, hire: Callable[..., Worker]) -> None:
    """Its makers plan the end of eventlet; while it runs, its pool is woken as the others are."""
    start_all([hire(name, pool="eventlet", concurrency=4, queues=["eventlet"]) for name in ("ann", "bob")])
    assert requeues_of(desk, "eventlet") <= FEW


@only_redis
@pytest.mark.newest
def test_workers_that_take_no_message_ahead(desk: Office, hire: Callable[..., Worker]) -> None:
    """With worker_disable_prefetch a worker takes no more messages than it has slots: jobs that wait in it fill none.

    Those for another key run meanwhile.
    """
    worker = hire("worker", {"worker_disable_prefetch": True}, queues=["at-once"])
    worker.start()
    with desk.taken():
        jobs = [desk.send("line", name, queue="at-once") for name in NAMES[:6]]
        desk.wait_for_line(len(jobs))
        free = desk.app.send_task("line", kwargs={"key": f"{desk.key}-free", "job": "free"}, queue="at-once")
        assert free.get(timeout=PATIENCE) == "free"
    assert [job.get(timeout=PATIENCE) for job in jobs] == NAMES[:6]
