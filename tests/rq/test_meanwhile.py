"""What happens to a job between two steps of its way, and to the others because of it."""

from __future__ import annotations

import signal
import time

import psutil
import pytest
from rq import Retry
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry

from celery_locks import Locks
from celery_locks.rq import again, waiting
from tests.rq import jobs
from tests.rq.yard import LOCKED, PATIENCE, Yard
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

HASTY, PAUSED = "tests.rq.odd.HastyWorker", "tests.rq.odd.PausedWorker"


@pytest.mark.skipif(not again.RETURNS, reason="with RQ 2.0 a job goes back by another way")
def test_a_job_that_is_cancelled_or_deleted_as_it_goes_back_does_not_come_again(yard):
    """It is as it was left, and nothing of it waits."""
    with yard.workers(1, PAUSED), yard.locks.lock(yard.key, ttl=60):
        for name in ("cancel", "delete"):
            job = yard.send(jobs.patient, name)
            wait_until((yard.folder / f"{name}.going").exists, "a job that goes back", PATIENCE)
            getattr(job, name)()
            (yard.folder / f"{name}.go").touch()
            yard.becomes(yard.send(jobs.follows, f"after-{name}"), "finished")
            assert job.id not in yard.queue.scheduled_job_registry
            assert not yard.connection.exists(f"rq:locks:waiting:{yard.queue.name}")
            assert Job.exists(job.id, yard.connection) == (name == "cancel")
            if name == "cancel":
                assert job.get_status() == "canceled"


def test_a_job_that_rq_has_given_up_is_no_copy_of_itself(yard):
    """Its worker died with its work horse and a ttl of minutes: the next try waits for the key, and is not dropped."""
    with yard.workers(1) as [first]:
        job = yard.send(jobs.hold_long, "first", retry=Retry(max=2))
        yard.began("first")
        first.end()
    # As RQ does that has not heard of it for so long; the job remembers that execution for a minute more.
    StartedJobRegistry(yard.queue.name, connection=yard.connection).cleanup(time.time() + 130)
    assert job.get_status() == "queued"
    with yard.workers(1):
        yard.waits(job)
        yard.enough("first")
        assert yard.locks.force_release(yard.key)
        yard.becomes(job, "finished")


@pytest.mark.parametrize("how", ["queued", "started"])
def test_nobody_stands_aside_for_ever_for_a_job_whose_worker_is_dead(yard, how):
    """Killed as it had taken the called job from the queue, or as it was about to begin."""
    other = yard.folder / "other"
    other.mkdir()
    with yard.workers(1, HASTY):
        with yard.locks.lock(yard.key, ttl=60):
            called, behind = yard.send(jobs.patient, "called"), yard.send(jobs.patient, "behind")
            yard.waits(called)
            yard.waits(behind)
            yard.queue.enqueue(jobs.hold, str(other), "busy")
            wait_until((other / "busy.began").exists, "the worker to be busy", PATIENCE)
        yard.becomes(called, "queued")
        line = f"lock:{{{yard.key}}}:line"
        wait_until(lambda: not yard.connection.exists(line), "those behind to stand aside", PATIENCE)
        yard.queue.remove(called)
        called.set_status(JobStatus(how))
        (other / "busy.enough").touch()
        yard.becomes(behind, "finished")


def test_a_job_that_is_sent_again_with_other_arguments_waits_for_their_key(yard):
    """Under its id, while it waits: it is called when that key is free, and nobody waits for the first one."""
    other = yard.folder / "other"
    other.mkdir()
    with yard.workers(1), yard.locks.lock(yard.key, ttl=60):
        lock = yard.locks.lock(str(other), ttl=60)
        assert lock.acquire()
        job = yard.send(jobs.patient, "first", job_id=f"again-{yard.queue.name}")
        waiting_key = f"rq:locks:waiting:{yard.queue.name}"
        wait_until(lambda: yard.connection.zscore(waiting_key, job.id), "a worker to attend to it", PATIENCE)
        yard.queue.enqueue(jobs.patient, str(other), "first", job_id=job.id)
        wait_until(lambda: (shown := waiting(job)) and shown.key == str(other), "it to wait anew", PATIENCE)
        line = f"lock:{{{yard.key}}}:line"
        wait_until(lambda: not yard.connection.exists(line), "the first line to be left", PATIENCE)
        lock.release()
        yard.becomes(job, "finished")
    assert yard.stays() == []


def test_a_worker_in_burst_mode_waits_for_the_jobs_that_wait_there(yard):
    """Else they would wait until somebody starts another; it ends when it is told to all the same."""
    lock = yard.locks.lock(yard.key, ttl=60)
    assert lock.acquire()
    # Before there is a worker, which would find its queue empty.
    first, second = yard.send(jobs.patient, "first"), yard.send(jobs.brief, "second")
    with yard.workers(1, LOCKED, "--burst") as [told]:
        yard.waits(first)
        yard.waits(second)
        told.send(signal.SIGTERM)
        told.process.wait(PATIENCE)
    with yard.workers(2, LOCKED, "--burst") as hands:
        time.sleep(1.0)
        assert None in [hand.process.poll() for hand in hands]
        lock.release()
        for hand in hands:
            hand.process.wait(PATIENCE)
    assert (first.get_status(), second.get_status()) == ("finished", "finished")
    yard.were_apart(2)


def test_a_worker_that_ends_while_its_job_runs_on_leaves_it_its_key(keeper, tmp_path):
    """As RQ's does that cannot reach its Redis, when the locks are elsewhere."""
    locks = Locks(keeper.url)
    with RedisServer() as own:
        yard = Yard(own, tmp_path)
        with yard.workers(1, LOCKED, "--job-monitoring-interval", "1", CELERY_LOCK_STORE=keeper.url) as [hand]:
            yard.send(jobs.hold, "first")
            horse = psutil.Process(yard.began("first"))
            own.kill()
            hand.process.wait(PATIENCE)
            assert "given back" not in hand.said()
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                assert locks.holder(yard.key)
                time.sleep(0.05)
            assert horse.is_running()
            horse.kill()
