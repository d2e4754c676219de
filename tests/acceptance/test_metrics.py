"""Metrics of a real worker, read back as Prometheus does."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from celery_locks import LockLost
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is counted is the same whatever carries the jobs


def test_what_a_worker_counts(desk: Office, hire: Callable[..., Worker], tmp_path: Path) -> None:
    """Jobs of two pool processes, one that lost its lease, and one whose process was killed: each counted once."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    worker = hire("worker", queues=["metered"], module="tests.acceptance.metered", environment=environment)
    worker.start()
    jobs = [desk.send("line", f"job {number}", queue="metered", seconds=0.05) for number in range(8)]
    assert [job.get(timeout=PATIENCE) for job in jobs] == [f"job {number}" for number in range(8)]
    loser = desk.send("lost_raise", "loses", queue="metered", seconds=60)
    desk.journal.wait_for_start(desk.key, "loses")
    assert desk.locks.force_release(desk.key)
    with pytest.raises(LockLost):
        loser.get(timeout=PATIENCE)
    desk.send("minute", "dies", queue="metered", seconds=60)
    os.kill(desk.journal.wait_for_start(desk.key, "dies").pid, signal.SIGKILL)
    desk.wait_until_free()
    wait_until(lambda: _counted(folder, "freed", "minute") == 1, "the worker to count the key it freed", PATIENCE)
    ends = {task: [_counted(folder, name, task) for name in ("acquired", "released", "lost", "freed")]
            for task in ("line", "lost_raise", "minute")}  # fmt: skip
    assert ends == {"line": [8, 8, 0, 0], "lost_raise": [1, 0, 1, 0], "minute": [1, 0, 0, 1]}
    assert _counted(folder, "contended", "line") >= _counted(folder, "requeued", "line")


def _counted(folder: Path, name: str, task: str) -> float:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return registry.get_sample_value(f"celery_locks_{name}_total", {"task": task}) or 0.0
