"""Jobs whose locks are elsewhere than RQ's own keys: each kind of store, opened in a worker before it forks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time

import pytest

from celery_locks import Locks
from tests.rq import jobs
from tests.rq.yard import PATIENCE, Yard
from tests.waiting import wait_until

#: Longer than the ttl of the job whose process stands still.
LONG = 4.5


@pytest.fixture(scope="module")
def stores(etcd_server, postgres_server, zookeeper_server, tmp_path_factory):
    """Where they are, by the names that the jobs know."""
    folder = tmp_path_factory.mktemp("stores")
    with postgres_server.database() as database:
        yield {
            "file": f"file://{folder}/locks",
            "sqlite": f"sql+sqlite:///{folder}/locks.db",
            "etcd": etcd_server.url,
            "advisory": database.replace("postgresql://", "postgresql+advisory://"),
            "zookeeper": f"{zookeeper_server.url}/tests/rq?session_timeout=3",
        }


@pytest.fixture(scope="module")
def hands(keeper, stores, tmp_path_factory):
    """Workers that know all of them."""
    with Yard(keeper, tmp_path_factory.mktemp("shared"), queue="shared").workers(
        2, CELERY_LOCK_STORES=json.dumps(stores)
    ) as hands:
        yield hands


@pytest.mark.parametrize("name", jobs.KEPT)
def test_jobs_exclude_each_other_and_a_killed_one_frees_its_key(shared, stores, name):
    """What has a ttl is beaten for by the worker while the process of the job stands still. Fences grow everywhere."""
    with contextlib.closing(Locks(stores[name])) as locks:
        first = shared.send(jobs.KEPT[name], "first")
        horse = shared.began("first")
        second = shared.send(jobs.KEPT[name], "second")
        shared.waits(second)
        if not locks.store.in_connection:
            stands_still(horse, lambda: first.id in locks.holder(shared.key).owner)
        shared.enough("first")
        os.kill(shared.began("second"), signal.SIGKILL)
        wait_until(lambda: locks.holder(shared.key) is None, "the key", PATIENCE)
        shared.becomes(first, "finished")
        shared.becomes(second, "failed")
        third = shared.send(jobs.KEPT[name], "third")
        shared.enough("third")
        shared.becomes(third, "finished")
    shared.were_apart(2)


def stands_still(horse, keeps):
    """A process does so past its ttl."""
    os.kill(horse, signal.SIGSTOP)
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        assert keeps()
        time.sleep(0.1)
    os.kill(horse, signal.SIGCONT)
