"""A line does not wait for a worker whose slots are all busy with other work.

The claim window of these tests is longer than their patience: whoever runs after one that could not start was called
because that one left the line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_redis

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery.result import AsyncResult

    from tests.acceptance.nodes import Worker

LONG = 100


def names(who: str, count: int) -> list[str]:
    return [f"{who} {number}" for number in range(count)]


def line_up(desk: Office, jobs: list[str], queue: str) -> list[AsyncResult]:
    """In line, one after the other, at the worker of this queue."""
    results = []
    for job in jobs:
        results.append(desk.job("line", job, queue=queue).apply_async())
        desk.wait_until_waiting(results[-1])
    desk.wait_for_messages(jobs[0], 2)
    return results


def keep_busy(desk: Office, queue: str, until: Path) -> AsyncResult:
    """A job of another key that has the one slot of this queue's worker until the file is there."""
    other = f"{desk.key} other"
    arguments = {"key": other, "job": "busy", "until": str(until)}
    busy = desk.app.signature("open", kwargs=arguments).set(queue=queue).apply_async()
    desk.journal.wait_for_start(other, "busy")
    return busy


@only_redis
@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "solo"])
def test_a_busy_worker_hands_all_its_turns_on(
    desk: Office, hire: Callable[..., Worker], tmp_path: Path, pool: str
) -> None:
    """Those behind its jobs run meanwhile; its own come back to their places when it has a slot, and run in order."""
    conf: dict[str, Any] = {"lock_store": f"{desk.vault.url}?claim_window={LONG}"}
    start_all([hire(who, conf, pool=pool, concurrency=1, queues=[f"{who}-{pool}"]) for who in ("ann", "bob")])
    with desk.taken(ttl=120):
        of_ann = line_up(desk, names("ann", 4), f"ann-{pool}")
        busy = keep_busy(desk, f"ann-{pool}", tmp_path / "enough")
        of_bob = line_up(desk, names("bob", 3), f"bob-{pool}")
    assert [result.get(timeout=PATIENCE) for result in of_bob] == names("bob", 3)
    assert desk.journal.jobs(desk.key) == names("bob", 3)
    (tmp_path / "enough").touch()
    assert [result.get(timeout=PATIENCE) for result in of_ann] == names("ann", 4)
    assert busy.get(timeout=PATIENCE) == "busy"
    runs = desk.journal.wait_for_runs(desk.key, 7, PATIENCE)
    judge(runs, names("bob", 3) + names("ann", 4))
    assert [run.job for run in runs] == names("bob", 3) + names("ann", 4)
    assert max(run.facts["requeues"] for run in runs) <= 1
