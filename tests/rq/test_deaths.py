"""What dies or is stopped while a job holds a key, and while others wait."""

from __future__ import annotations

import os
import signal
import time

import psutil

from tests.rq import jobs
from tests.rq.yard import PATIENCE
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

TELLING = "tests.rq.odd.TellingWorker"
#: Longer than the ttl of a job that is to outlive its worker.
PAST = 4.0


def test_a_killed_work_horse_frees_its_key_at_once(yard):
    """Its worker does that, with a ttl of minutes; the job that waits runs, and RQ says what became of the killed.

    The signals of both are sent in the main process.
    """
    with yard.workers(1, TELLING, "-n", "ann") as [first], yard.workers(1, TELLING, "-n", "bob") as [second]:
        job = yard.send(jobs.hold_long, "first")
        horse = yard.began("first")
        waits = yard.send(jobs.patient, "second")
        yard.waits(waits)
        os.kill(horse, signal.SIGKILL)
        wait_until(lambda: (it := yard.locks.holder(yard.key)) is None or job.id not in it.owner, "the key", PATIENCE)
        yard.becomes(waits, "finished")
        yard.becomes(job, "failed")
        told = [line.split() for line in yard.lines("told.txt")]
        assert [event for event, *_ in told] == ["Freed", "Woken"]
        assert told[0][1:3] == [job.id, str(horse)]
        assert told[1][1] == waits.id
        assert {int(told[1][2])} <= {first.pid, second.pid}
        assert {told[0][3], told[1][3]} == {"ann", "bob"}


def one_runs_and_one_waits(yard, hands):
    """Both jobs, and the worker and the work horse of the one that runs, for longer than its ttl."""
    runs = yard.send(jobs.hold_short, "first")
    horse = yard.began("first")
    waits = yard.send(jobs.patient, "second")
    yard.waits(waits)
    [main] = [hand for hand in hands if hand.horse_is(horse)]
    return runs, waits, main, horse


def test_a_work_horse_keeps_its_key_when_its_worker_is_killed(yard):
    """It beats itself, past its ttl, and nobody has the key meanwhile."""
    with yard.workers() as hands:
        job, waits, main, _ = one_runs_and_one_waits(yard, hands)
        main.process.kill()
        main.process.wait()
        time.sleep(PAST)
        assert job.id in yard.locks.holder(yard.key).owner
        yard.enough("first")
        yard.becomes(waits, "finished")
        yard.becomes(job, "finished")
        yard.were_apart(2)


def test_what_a_killed_worker_attended_to_is_taken_over(yard):
    """Each job that waited there is called by another worker, and none is lost."""
    with yard.workers(1) as [first]:
        yard.send(jobs.hold_long, "first")
        yard.began("first")
        with yard.workers(1) as [second]:
            waits = [yard.send(jobs.patient, f"w{each}") for each in range(3)]
            for each in waits:
                yard.waits(each)
            second.process.kill()
            second.process.wait()
            yard.enough("first")
            for each in waits:
                yard.becomes(each, "finished")
        assert first.process.poll() is None
        yard.were_apart(4)


def test_a_worker_that_was_stopped_past_the_ttl_finds_its_job_with_its_key(yard):
    """The work horse stands in for it, and gives way when it goes on."""
    with yard.workers() as hands:
        job, waits, main, _ = one_runs_and_one_waits(yard, hands)
        main.send(signal.SIGSTOP)
        time.sleep(PAST)
        assert job.id in yard.locks.holder(yard.key).owner
        main.send(signal.SIGCONT)
        yard.enough("first")
        yard.becomes(job, "finished")
        yard.becomes(waits, "finished")
        yard.were_apart(2)


def test_a_machine_that_was_stopped_past_the_ttl_finds_its_lease_gone(yard):
    """Worker and work horse: another job has the key meanwhile, and this one is ended as soon as it goes on."""
    with yard.workers() as hands:
        job, waits, main, horse = one_runs_and_one_waits(yard, hands)
        main.send(signal.SIGSTOP)
        os.kill(horse, signal.SIGSTOP)
        yard.becomes(waits, "finished")
        os.kill(horse, signal.SIGCONT)
        main.send(signal.SIGCONT)
        yard.becomes(job, "failed")
        assert "LockLost" in job.latest_result().exc_string
        yard.were_apart(1)


def test_a_redis_that_is_restarted_loses_nobody(yard):
    """While one job runs and others wait."""
    with yard.workers():
        job = yard.send(jobs.hold, "first")
        yard.began("first")
        waits = [yard.send(jobs.patient, f"w{each}") for each in range(3)]
        for each in waits:
            yard.waits(each)
        yard.server.restart()
        yard.enough("first")
        for each in [job, *waits]:
            yard.becomes(each, "finished")
        yard.were_apart(4)


def test_a_cold_shutdown_frees_the_key(yard):
    """The worker ends its work horse, and gives back what that held before it ends itself."""
    with yard.workers(1) as [hand]:
        yard.send(jobs.hold_long, "first")
        yard.began("first")
        hand.send(signal.SIGTERM)
        wait_until(lambda: "warm shut down" in hand.said(), "a warm shutdown", PATIENCE)
        # RQ takes a second signal that comes within a second for the same.
        time.sleep(1.1)
        hand.send(signal.SIGTERM)
        hand.process.wait(PATIENCE)
        assert yard.locks.holder(yard.key) is None


def test_a_warm_shutdown_calls_back_who_waits_in_a_slot(yard):
    """It goes back to its queue and runs elsewhere; what runs is waited for."""
    with yard.workers(1) as [first]:
        yard.send(jobs.hold_long, "first")
        yard.began("first")
        with yard.workers(1) as [second]:
            waits = yard.send(jobs.in_slot, "second")
            yard.becomes(waits, "started")
            second.send(signal.SIGTERM)
            second.process.wait(PATIENCE)
        yard.waits(waits)
        yard.enough("first")
        yard.becomes(waits, "finished")
        assert first.process.poll() is None
        yard.were_apart(2)


def test_a_work_horse_is_ended_when_its_lease_is_lost(yard):
    """With on_lost='kill', before another can have the key; the job's failure says why."""
    with yard.workers(1):
        job = yard.send(jobs.doomed, "first")
        horse = yard.began("first")
        assert yard.locks.force_release(yard.key)
        yard.becomes(job, "failed")
        assert "LockLost" in (said := job.latest_result().exc_string)
        assert "ended before another could have the key" in said
        wait_until(lambda: not psutil.pid_exists(horse), "the end of the process", PATIENCE)


def test_a_job_whose_store_is_down_comes_again_when_it_is_up(yard):
    """It never runs unlocked, and is not lost."""
    with RedisServer() as store:
        store.stop()
        with yard.workers(1, CELERY_LOCK_STORE=store.url):
            job = yard.send(jobs.impatient, "first")
            yard.waits(job)
            store.start()
            yard.becomes(job, "finished")
    yard.were_apart(1)
