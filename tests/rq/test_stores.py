"""Jobs whose locks are elsewhere than RQ's own keys: each kind of store, known to a worker before it forks."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from celery_locks import Locks
from tests.rq import jobs
from tests.rq.yard import PATIENCE
from tests.waiting import wait_until

#: The ttl of the job whose process stands still.
SHORT = 1.5


@pytest.fixture(params=["file", "sqlite", "etcd", "advisory", "zookeeper"])
def store(request, tmp_path):
    """The URL of a store, which is opened once in the worker and used in each of its work horses."""
    if request.param == "file":
        return f"file://{tmp_path}/locks"
    if request.param == "sqlite":
        return f"sql+sqlite:///{tmp_path}/locks.db"
    server = "postgres" if request.param == "advisory" else request.param
    url = request.getfixturevalue(f"{server}_url")
    return url.replace("postgresql://", "postgresql+advisory://") if request.param == "advisory" else url


def test_jobs_exclude_each_other_and_a_killed_one_frees_its_key(yard, store):
    """What has a ttl is beaten for by the worker while the process of the job stands still. Fences grow everywhere."""
    with yard.workers(CELERY_LOCK_STORE=store), contextlib.closing(Locks(store)) as locks:
        first = yard.send(jobs.hold_short, "first")
        horse = yard.began("first")
        second = yard.send(jobs.impatient, "second")
        yard.waits(second)
        if not locks.store.in_connection:
            stands_still(horse, lambda: first.id in locks.holder(yard.key).owner)
        yard.enough("first")
        yard.becomes(second, "finished")
        yard.becomes(first, "finished")
        third = yard.send(jobs.hold_long, "third")
        os.kill(yard.began("third"), signal.SIGKILL)
        wait_until(lambda: locks.holder(yard.key) is None, "the key", PATIENCE)
        yard.becomes(third, "failed")
    yard.were_apart(2)


def stands_still(horse, keeps):
    """A process does so past its ttl."""
    os.kill(horse, signal.SIGSTOP)
    until = time.monotonic() + 2 * SHORT
    while time.monotonic() < until:
        assert keeps()
        time.sleep(0.1)
    os.kill(horse, signal.SIGCONT)
