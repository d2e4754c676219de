"""Workers of all kinds, ours and RQ's own, with a scheduler and without."""

from __future__ import annotations

import os
import signal
import time

import pytest
import rq.worker
from rq import Callback

from tests.rq import jobs
from tests.rq.yard import LOCKED, PATIENCE
from tests.waiting import wait_until

HAS_SPAWN = hasattr(rq.worker, "SpawnWorker")
SIMPLE, SPAWN = "celery_locks.rq.LockedSimpleWorker", "celery_locks.rq.LockedSpawnWorker"
NEWER = pytest.mark.skipif(not HAS_SPAWN, reason="RQ spawns from version 2.2 on")


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (LOCKED, ["--with-scheduler"]),
        (SIMPLE, []),
        pytest.param(SPAWN, [], marks=NEWER),
        ("rq.Worker", []),
        ("rq.Worker", ["--with-scheduler"]),
    ],
    ids=["scheduler", "simple", "spawn", "plain", "plain-scheduler"],
)
def test_jobs_of_one_key_run_one_at_a_time(yard, cls, words):
    """In workers of ours and in RQ's own, where they wait for longer."""
    with yard.workers(2, cls, *words):
        sent = [yard.send(jobs.brief, f"n{each}", on_success=Callback(jobs.done)) for each in range(3)]
        for job in sent:
            yard.becomes(job, "finished")
    yard.were_apart(3)
    assert len(yard.lines("done.txt")) == 3


@pytest.mark.parametrize("cls", [LOCKED, pytest.param(SPAWN, marks=NEWER)])
def test_the_worker_beats_for_its_work_horse(yard, cls):
    """It keeps its key past its ttl although nothing in it runs, as while a C call holds its interpreter."""
    with yard.workers(1, cls):
        job = yard.send(jobs.hold_short, "first")
        horse = yard.began("first")
        os.kill(horse, signal.SIGSTOP)
        until = time.monotonic() + 4.5
        while time.monotonic() < until:
            assert job.id in yard.locks.holder(yard.key).owner
            time.sleep(0.05)
        os.kill(horse, signal.SIGCONT)
        yard.enough("first")
        yard.becomes(job, "finished")


@NEWER
def test_a_spawned_work_horse_that_is_killed_frees_its_key_at_once(yard):
    """Its worker sees what it holds in a file that they share. Its ttl is of minutes."""
    with yard.workers(1, SPAWN):
        yard.send(jobs.hold_long, "first")
        os.kill(yard.began("first"), signal.SIGKILL)
        wait_until(lambda: yard.locks.holder(yard.key) is None, "the key", PATIENCE)
