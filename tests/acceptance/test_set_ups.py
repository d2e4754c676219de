"""What a project may set up besides: the promises are the same."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain

from celery_locks import Locks
from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_redis

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis

SET_UPS: dict[str, dict[str, Any]] = {
    "a process for each job": {"worker_max_tasks_per_child": 1},
    "an old message protocol": {"task_protocol": 1},
    "no results": {"result_backend": None},
    "results by the broker": {"result_backend": "rpc://"},
    "locks in files": {"lock_store": "file://"},
}


@pytest.mark.parametrize("set_up", SET_UPS)
def test_jobs_of_one_key(desk: Office, hire: Callable[..., Worker], tmp_path: Path, set_up: str) -> None:
    """Contended jobs of two processes run once each, one at a time; in files also those of two workers."""
    conf = dict(SET_UPS[set_up])
    if "lock_store" in conf:
        conf["lock_store"] = tmp_path.as_uri()
    workers = ("ann", "bob") if "lock_store" in conf else ("ann",)
    start_all([hire(name, conf, queues=["set-up"]) for name in workers])
    locks = Locks(conf.get("lock_store", desk.vault.url))
    names = [f"job {number}" for number in range(3)]
    with contextlib.closing(locks), locks.lock(desk.key, ttl=60):
        for name in names:
            desk.send("work", name, queue="set-up", seconds=0.05)
        for name in names:
            desk.wait_for_messages(name, 2)
    runs = desk.journal.wait_for_runs(desk.key, len(names))
    judge(runs, names)
    assert all(run.facts["requeues"] >= 1 for run in runs)


def test_a_job_that_is_replaced_by_a_group(office: Office) -> None:
    """self.replace(group) by jobs with the same key, in a chain: they run after it, and the chain goes on."""
    steps = chain(office.job("replace_by_group", "one"), office.app.signature("plain"))
    with office.taken():
        last = steps.apply_async()
        office.wait_for_messages("one", 2)
    parts = [f"one, part {number}" for number in range(3)]
    assert last.get(timeout=PATIENCE) == parts
    judge(office.journal.runs(office.key), ["one", *parts])


def test_a_terminated_job_frees_its_key(desk: Office, hire: Callable[..., Worker]) -> None:
    """revoke(terminate=True) ends a job and frees its key, long before its ttl of a minute."""
    hire("worker", queues=["terminated"]).start()
    job = desk.send("minute", "terminated", queue="terminated", seconds=60)
    desk.journal.wait_for_start(desk.key, "terminated")
    desk.app.control.revoke(job.id, terminate=True)
    desk.wait_until_free()
    desk.wait_for_state(job, "REVOKED")
    assert desk.send("work", "next", queue="terminated").get(timeout=PATIENCE) == "next"


def test_two_apps_in_one_worker(desk: Office, hire: Callable[..., Worker]) -> None:
    """Jobs of two apps in one process keep to their own stores and options, one inside the other too."""
    hire("worker", queues=["two-apps"], module="tests.acceptance.two_apps").start()
    outer = desk.send("outer", "both", queue="two-apps").get(timeout=PATIENCE)
    assert outer == {"before": 5.0, "inner": [9.0, 9.0], "after": 5.0}
    desk.wait_until_free()


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_who_waits_in_a_slot_keeps_nobody_else_waiting(desk: Office, hire: Callable[..., Worker], pool: str) -> None:
    """Three jobs that wait in their slots of one process: a fourth, with another key, runs meanwhile."""
    queue = f"in-slots-{pool}"
    hire("worker", pool=pool, concurrency=4, queues=[queue]).start()
    names = [f"waiter {number}" for number in range(3)]
    with desk.taken():
        waiting = [desk.send("patient", name, queue=queue) for name in names]
        for name in names:
            desk.wait_for_messages(name, 1)
        free = desk.app.signature("work", (f"{desk.key} not", "free")).apply_async(queue=queue)
        assert free.get(timeout=PATIENCE) == "free"
        assert desk.journal.runs(desk.key) == []
    assert [job.get(timeout=PATIENCE) for job in waiting] == names
    judge(desk.journal.runs(desk.key), names)
