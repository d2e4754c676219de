"""Workers whose jobs are greenlets are asked to end at once: what they break off frees its key, and comes again."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import celery
import pytest

from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

MANY = 20
#: So many of them acknowledge early: those that have begun are gone from the broker.
EARLY = 10
#: More than there are slots for: the worker's main greenlet waits for a slot when the signal comes.
MORE = 5
SOFT = [0, 5]
POOLS = ["gevent", "eventlet"]
if celery.VERSION < (5, 5):
    # There is no soft shutdown, and a worker that waits for a slot hears nothing.
    MORE, SOFT = 0, [0]


@pytest.mark.parametrize("soft", SOFT)
@pytest.mark.parametrize("pool", POOLS)
@only_redis
def test_what_a_cold_shutdown_breaks_off(
    desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path, pool: str, soft: int
) -> None:
    """Each key is free long before its ttl of five minutes, and no job is lost that acknowledges late or had no slot.

    After a soft shutdown, too, which lets a job end that can.
    """
    queue = f"broken-off-{pool}-{soft}"
    conf = {"worker_soft_shutdown_timeout": soft, "worker_prefetch_multiplier": 4}
    worker = hire_kept("green", conf, pool=pool, concurrency=MANY, queues=[queue])
    worker.start()
    keys = [f"{desk.key}-{number}" for number in range(MANY + MORE)]
    ends = [str(tmp_path / ("soon" if number == 0 else "never")) for number in range(MANY + MORE)]
    jobs = []
    for number, key in enumerate(keys):
        task = "five_minutes" if number < EARLY else "five_minutes_acks_late"
        jobs.append(desk.app.send_task(task, (key, "cut off", ends[number]), queue=queue))
    for key in keys[:MANY]:
        desk.journal.wait_for_start(key, "cut off")
    os.kill(worker.pid, signal.SIGQUIT)
    if soft:
        wait_until(lambda: "Initiating Soft Shutdown" in worker.log(), "the soft shutdown", PATIENCE)
        (tmp_path / "soon").touch()
        assert jobs[0].get(timeout=PATIENCE) == "cut off"
    worker.wait_until_ended(60)
    wait_until(lambda: not any(map(desk.locks.locked, keys)), "all keys to be free", PATIENCE)
    assert desk.waiting_in(queue) == MANY + MORE - EARLY


@pytest.mark.skipif(celery.VERSION < (5, 5), reason="Celery breaks off no greenlet")
@only_redis
def test_greenlets_that_are_broken_off_by_hand(desk: Office, hire_kept: Callable[..., Worker], tmp_path: Path) -> None:
    """revoke(terminate=True) frees their keys, and so does a second signal while a long soft shutdown lets them run."""
    conf = {"worker_soft_shutdown_timeout": 10 * PATIENCE}
    worker = hire_kept("green", conf, pool="gevent", concurrency=MANY, queues=["by-hand"])
    worker.start()
    keys, never = [f"{desk.key}-{number}" for number in range(MANY)], str(tmp_path / "never")
    jobs = [desk.app.send_task("five_minutes", (key, "cut off", never), queue="by-hand") for key in keys]
    for key in keys:
        desk.journal.wait_for_start(key, "cut off")
    for job in jobs[:EARLY]:
        job.revoke(terminate=True)
    wait_until(lambda: not any(map(desk.locks.locked, keys[:EARLY])), "the keys of those revoked", PATIENCE)
    os.kill(worker.pid, signal.SIGQUIT)
    wait_until(lambda: "Initiating Soft Shutdown" in worker.log(), "the soft shutdown", PATIENCE)
    assert all(map(desk.locks.locked, keys[EARLY:]))
    os.kill(worker.pid, signal.SIGQUIT)
    wait_until(lambda: not any(map(desk.locks.locked, keys)), "all keys to be free", PATIENCE)
