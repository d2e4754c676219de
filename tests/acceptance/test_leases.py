"""The lease while the job runs: kept, lost, or outlived; and a store that goes away."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from celery_locks import LockLost, Locks, StoreUnavailable
from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is proved here lies between the worker and the store


def test_a_heartbeat_keeps_the_key(office: Office) -> None:
    """A job of two ttls keeps its key to its end; a contender begins after it."""
    job = office.send("short_lease", "long", seconds=4.5)
    office.journal.wait_for_start(office.key, "long")
    contender = office.send("work", "contender")
    office.wait_until_waiting(contender)
    assert (job.get(timeout=PATIENCE), contender.get(timeout=PATIENCE)) == ("long", "contender")
    long, _ = runs = office.journal.runs(office.key)
    judge(runs, ["long", "contender"])
    assert long.end is not None
    assert long.end - long.start > 4.4


def test_a_lost_lease_stops_the_job(office: Office) -> None:
    """lock_on_lost="raise": the job is stopped in the middle of a long sleep, with LockLost.

    Its worker takes the next job.
    """
    job = office.send("lost_raise", "stopped", seconds=60)
    office.journal.wait_for_start(office.key, "stopped")
    assert office.locks.force_release(office.key)
    with pytest.raises(LockLost) as lost:
        job.get(timeout=PATIENCE)
    [run] = office.journal.runs(office.key)
    assert run.end is not None
    assert run.end - run.start < 30
    assert lost.value.key == office.key
    assert job.state == "FAILURE"
    assert office.send("work", "next").get(timeout=PATIENCE) == "next"


@pytest.mark.newest
def test_a_lost_lease_of_files_stops_the_job(desk: Office, hire: Callable[..., Worker], tmp_path: Path) -> None:
    """A lease that lasts as long as its process is watched there: who takes the key away stops the job."""
    store = f"file://{tmp_path}/locks"
    hire("worker", {"lock_store": store}, queues=["files"]).start()
    job = desk.send("lost_raise", "stopped", queue="files", seconds=60)
    run = desk.journal.wait_for_start(desk.key, "stopped")
    with closing(Locks(store)) as locks:
        assert locks.holder(desk.key).owner == run.facts["owner"]
        assert locks.force_release(desk.key)
        with pytest.raises(LockLost) as lost:
            job.get(timeout=PATIENCE)
        assert lost.value.key == desk.key
        assert not locks.locked(desk.key)


def test_a_lost_lease_is_flagged(office: Office) -> None:
    """lock_on_lost="flag": the job runs on to its good end, and its lease says that it is not held."""
    job = office.send("lost_flag", "runs on", seconds=1.5)
    office.journal.wait_for_start(office.key, "runs on")
    assert office.locks.force_release(office.key)
    assert job.get(timeout=PATIENCE) == "runs on"
    [end] = office.journal.events("lease", office.key)
    assert end["held"] is False


def test_a_lost_lease_ends_the_process(desk: Office, hire: Callable[..., Worker]) -> None:
    """lock_on_lost="kill": the pool process is gone, the job is reported, the worker lives on."""
    worker = hire("worker", queues=["killing"])
    worker.start()
    before = worker.children()
    job = desk.send("lost_kill", "killed", queue="killing", seconds=60)
    run = desk.journal.wait_for_start(desk.key, "killed")
    assert run.pid in before
    assert desk.locks.force_release(desk.key)
    wait_until(lambda: not psutil.pid_exists(run.pid), "the pool process to be gone", PATIENCE)
    with pytest.raises(LockLost, match="The process of the job was ended") as lost:
        job.get(timeout=PATIENCE)
    assert lost.value.key == desk.key
    assert desk.send("work", "next", queue="killing").get(timeout=PATIENCE) == "next"
    assert worker.is_alive()
    assert run.pid not in worker.children()


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_a_thread_learns_of_its_loss_at_the_end(desk: Office, hire: Callable[..., Worker], pool: str) -> None:
    """A job in a thread or greenlet cannot be stopped from outside: it runs to its end, then fails with LockLost."""
    hire("worker", pool=pool, queues=[f"loss-{pool}"]).start()
    job = desk.send("lost_raise", "not stopped", queue=f"loss-{pool}", seconds=1.5)
    desk.journal.wait_for_start(desk.key, "not stopped")
    assert desk.locks.force_release(desk.key)
    with pytest.raises(LockLost):
        job.get(timeout=PATIENCE)
    [end] = desk.journal.events("lease", desk.key)
    assert end["held"] is False


def test_a_soft_time_limit_in_the_body(office: Office) -> None:
    """SoftTimeLimitExceeded in the body frees the key at once, long before its ttl of a minute."""
    job = office.send("soft_limit", "too long", seconds=30)
    with pytest.raises(SoftTimeLimitExceeded):
        job.get(timeout=PATIENCE)
    office.wait_until_free()


def test_a_body_that_minds_its_soft_time_limit(office: Office) -> None:
    """A body that catches its soft time limit cleans up with its key still held."""
    assert office.send("minds_its_limit", "cleans").get(timeout=PATIENCE) == "cleaned up"
    [end] = office.journal.events("lease", office.key)
    assert end["held"] is True
    office.wait_until_free()


def test_a_soft_time_limit_while_waiting_in_the_slot(office: Office) -> None:
    """A soft time limit that comes during lock_wait ends the job without a lock, and leaves none behind."""
    with office.taken():
        job = office.send("patient_soft_limit", "too long")
        with pytest.raises(SoftTimeLimitExceeded):
            job.get(timeout=PATIENCE)
    assert not office.locks.locked(office.key)
    assert office.journal.runs(office.key) == []
    assert office.send("work", "next").get(timeout=PATIENCE) == "next"


def test_a_hard_time_limit(office: Office) -> None:
    """A hard time limit kills the process: the key becomes free."""
    job = office.send("hard_limit", "too long", seconds=30)
    office.journal.wait_for_start(office.key, "too long")
    with pytest.raises(TimeLimitExceeded):
        job.get(timeout=PATIENCE)
    office.wait_until_free()


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """A store that a test may stop: neither broker nor backend."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def outage(desk: Office, hire: Callable[..., Worker], store: RedisServer) -> Iterator[Office]:
    """A worker, and the desk, with that store."""
    hire("worker", {"lock_store": store.url}, queues=["outage"]).start()
    desk.locks = Locks(store.url)
    yield desk
    desk.locks.close()


@pytest.mark.newest
def test_jobs_wait_for_their_store(outage: Office, store: RedisServer) -> None:
    """lock_on_outage="requeue": while the store is down jobs wait on their queue; when it is back all run."""
    store.kill()
    names = [f"job {number}" for number in range(4)]
    jobs = [outage.send("work", name, queue="outage", seconds=0.05) for name in names]
    outage.wait_until_waiting(*jobs)
    assert all(isinstance(job.info, StoreUnavailable) and job.info.key == outage.key for job in jobs)
    assert outage.journal.runs(outage.key) == []
    store.start()
    assert [job.get(timeout=PATIENCE) for job in jobs] == names
    judge(outage.journal.runs(outage.key), names)


@pytest.mark.newest
def test_a_job_survives_a_short_outage(outage: Office, store: RedisServer) -> None:
    """A store that hangs for less than the ttl while a job runs: the lease is not lost, and the job ends well."""
    job = outage.send("work", "survives", queue="outage", seconds=3.5)
    outage.journal.wait_for_start(outage.key, "survives")
    store.pause()
    time.sleep(2.2)  # more than the client's own timeout, less than the ttl of 5 s
    store.resume()
    assert job.get(timeout=PATIENCE) == "survives"
    [end] = outage.journal.events("lease", outage.key)
    assert end["held"] is True


@pytest.mark.newest
def test_a_job_whose_store_is_gone_for_a_ttl_is_stopped(outage: Office, store: RedisServer) -> None:
    """A job that cannot prove its lease any more is stopped when its ttl is over, before another could start."""
    job = outage.send("short_lease", "stopped", queue="outage", seconds=60)
    run = outage.journal.wait_for_start(outage.key, "stopped")
    store.pause()
    with pytest.raises(LockLost):
        job.get(timeout=PATIENCE)
    [run] = outage.journal.runs(outage.key)
    assert run.end is not None
    assert run.end - run.start < 30
    store.resume()


@pytest.mark.newest
def test_jobs_fail_with_their_store(outage: Office, store: RedisServer) -> None:
    """lock_on_outage="fail": the job ends FAILURE with StoreUnavailable, which names the key, and does not run."""
    store.kill()
    with pytest.raises(StoreUnavailable) as failure:
        outage.send("outage_fail", "fails", queue="outage").get(timeout=PATIENCE)
    assert failure.value.key == outage.key
    assert outage.journal.runs(outage.key) == []


@pytest.mark.newest
def test_jobs_run_without_their_store(outage: Office, store: RedisServer) -> None:
    """lock_on_outage="run": the job runs unlocked, with a lease that is not held and has the lowest fence."""
    store.kill()
    assert outage.send("outage_run", "runs", queue="outage").get(timeout=PATIENCE) == "runs"
    [run] = outage.journal.runs(outage.key)
    assert run.fence == 0
    [end] = outage.journal.events("lease", outage.key)
    assert end["held"] is False
