"""Where jobs wait: in one place, attended to by one worker, and put back once."""

from __future__ import annotations

import dataclasses
import importlib
import time
from datetime import datetime, timezone

import pytest
from rq import Queue, SimpleWorker
from rq.job import JobStatus
from rq.registry import ScheduledJobRegistry

try:
    from rq import RateLimit
except ImportError:
    RateLimit = None

from celery_locks.rq import waits
from celery_locks.rq.waits import FIELD, Room, Wait, wait_of
from tests.rq import jobs
from tests.waiting import wait_until


@pytest.fixture
def room(yard):
    return Room(yard.queue.name, yard.connection)


@pytest.fixture
def waiting(yard, room):
    """A job that waits, as one does that has found its key taken."""

    def put(name="first", **options):
        job = yard.send(jobs.brief, name, **options)
        yard.queue.remove(job)
        job.set_status(JobStatus.STARTED)
        with yard.connection.pipeline() as pipeline:
            room.put(pipeline, job, Wait(1, time.time(), key=yard.key, due=time.time() + 30), served=True)
            pipeline.execute()
        return job

    return put


def test_a_job_is_put_back_once_whoever_does_it(yard, room, waiting):
    """It takes along what is known of it, and nothing else of it is left where it waited."""
    job = waiting()
    wait = wait_of(job)
    assert [room.move(job.id, wait, at_front=True) for _ in range(3)] == [True, False, False]
    assert yard.queue.job_ids == [job.id]
    assert (job.get_status(), wait_of(job)) == ("queued", wait)
    assert not yard.connection.exists(room.scheduled_key, room.waiting_key)


def test_at_which_end_of_its_queue(yard, room, waiting):
    """One that is called comes first, one whose countdown is over last."""
    other = yard.send(jobs.brief, "other")
    called, over = waiting("called"), waiting("over")
    assert room.move(called.id, wait_of(called), at_front=True)
    assert room.move(over.id, wait_of(over), at_front=False)
    assert yard.queue.job_ids == [called.id, other.id, over.id]


@pytest.mark.skipif(RateLimit is None, reason="RQ has rate limits from version 3 on")
def test_a_job_with_a_rate_limit_is_put_back_in_one_step(yard, room, waiting, monkeypatch):
    """One that is cancelled between the look at it and that step stays so. Its ticket goes along as with any other."""
    gates = importlib.import_module("rq.rate_limit").RateLimitRegistry
    limit = {"rate_limit": RateLimit(key=yard.key, concurrency=1)}
    called, cancelled = waiting("called", **limit), waiting("cancelled", **limit)
    for job in (called, cancelled):
        # As RQ does when it has gone back.
        gates.from_job(job).release_and_enqueue(job.id)
    wait = dataclasses.replace(wait_of(called), ticket="17-t")
    assert [room.move(called.id, wait, at_front=True) for _ in range(2)] == [True, False]
    assert (called.get_status(), wait_of(called).ticket, yard.queue.job_ids) == ("queued", "17-t", [called.id])
    register = gates.register

    def late(*given):
        cancelled.cancel()
        register(*given)

    monkeypatch.setattr(gates, "register", late)
    assert not room.move(cancelled.id, wait, at_front=True)
    assert (cancelled.get_status(), yard.queue.job_ids) == ("canceled", [called.id])
    assert gates(yard.key, yard.connection).get_rate_limited_job_ids() == []
    assert not yard.connection.exists(room.scheduled_key, room.waiting_key)


def test_a_job_that_is_sent_again_while_it_waits_is_on_its_queue_once(yard, room, waiting):
    """Under its id, which RQ allows: whoever attended to it drops it, and when it begins nothing of it waits."""
    job = waiting()
    [*_, wait] = room.attend([])[1].values()
    assert yard.send(jobs.brief, "again", job_id=job.id).id == job.id
    assert not room.move(job.id, wait, at_front=True)
    assert yard.queue.job_ids == [job.id]
    job = waiting("other")
    yard.send(jobs.brief, "other again", job_id=job.id)
    SimpleWorker([yard.queue], connection=yard.connection).work(burst=True)
    assert yard.who() == ["again", "other again"]
    assert not yard.connection.exists(room.scheduled_key, room.waiting_key)


def test_a_job_that_was_put_back_elsewhere_meanwhile_is_taken_up_anew(yard, room, waiting):
    """What its worker knew of it may be of another key."""
    job = waiting()
    assert [*room.attend([])[1]] == [job.id]
    job.set_status(JobStatus.STARTED)
    with yard.connection.pipeline() as pipeline:
        room.put(pipeline, job, Wait(1, time.time(), key="another", due=time.time() + 30), served=True)
        pipeline.execute()
    gone, taken = room.attend([job.id])
    assert (gone, taken[job.id].key) == ([], "another")
    assert room.attend([job.id]) == ([], {})


@pytest.mark.parametrize("how", ["finished", "failed", "canceled", "deleted"])
def test_a_job_that_has_ended_is_not_put_back(yard, room, waiting, how):
    """Nor is it attended to any more."""
    job = waiting()
    if how == "canceled":
        job.cancel()
    elif how == "deleted":
        job.delete()
    else:
        job.set_status(type(job.get_status())(how))
    assert not room.move(job.id, Wait(), at_front=True)
    assert yard.queue.job_ids == []
    assert not yard.connection.exists(room.scheduled_key, room.waiting_key)


def test_one_worker_attends_to_a_job_and_another_when_that_is_silent(room, waiting, monkeypatch):
    """What is attended to is left alone for a while after it was last said."""
    job = waiting()
    monkeypatch.setattr(waits, "ATTENDED", 60)
    gone, taken = room.attend([])
    assert (gone, [*taken]) == ([], [job.id])
    assert room.attend([]) == ([], {})
    monkeypatch.setattr(waits, "ATTENDED", 0.3)
    assert room.attend([job.id]) == ([], {})
    taken = wait_until(lambda: room.attend([])[1], "the job to be taken over")
    assert taken[job.id].key
    monkeypatch.setattr(waits, "ATTENDED", 60)
    assert room.attend([job.id]) == ([], {})
    room.abandon([job.id])
    assert [*room.attend([])[1]] == [job.id]
    assert room.attend([job.id, "never was"]) == (["never was"], {})


def test_a_job_that_was_taken_out_is_not_attended_to(yard, room, waiting):
    """As when a scheduler has put it back, or somebody has cancelled it."""
    own, other = waiting("own"), waiting("other")
    assert {*room.attend([])[1]} == {own.id, other.id}
    for job in (own, other):
        ScheduledJobRegistry(queue=yard.queue).remove(job)
    room.abandon([other.id])
    assert room.attend([own.id]) == ([own.id], {})
    assert not yard.connection.exists(room.waiting_key)


def test_a_job_that_is_to_be_gone_by_a_time_is_gone_also_when_it_waits(yard, waiting):
    """RQ lifts its ttl when it begins: it has the rest of it again, counted from when it was sent."""
    job = yard.queue.fetch_job(waiting(ttl=100).id)
    assert 90 < yard.connection.ttl(job.key) <= 100


def test_a_time_without_a_zone_is_of_utc():
    """As the oldest RQ writes it: the place of a job is named by when it was made."""
    made = datetime(2026, 1, 2, 3, tzinfo=timezone.utc)
    assert waits.seconds(made.replace(tzinfo=None)) == waits.seconds(made)


def test_what_was_waited_for_is_forgotten_when_a_job_begins(yard, room, waiting):
    """No later try of it counts what the first has waited."""
    job = waiting()
    room.forget(job)
    assert not yard.connection.hexists(job.key, FIELD)
    assert not yard.connection.exists(room.waiting_key)


def test_those_behind_one_that_gets_no_slot_stand_aside(yard):
    """They do not flood the queue one after the other, and come in their order when there is a slot."""
    with yard.workers(1):
        other = yard.folder / "other"
        other.mkdir()
        with yard.locks.lock(yard.key, ttl=60):
            sent = [yard.send(jobs.patient, f"n{each}") for each in range(4)]
            for job in sent:
                yard.waits(job)
            yard.queue.enqueue(jobs.hold, str(other), "busy")
            wait_until((other / "busy.began").exists, "the worker to be busy", 30)
        yard.becomes(sent[0], "queued")
        time.sleep(2.5)
        assert Queue(yard.queue.name, connection=yard.connection).job_ids == [sent[0].id]
        (other / "busy.enough").touch()
        for job in sent:
            yard.becomes(job, "finished")
    yard.were_apart(4)
    assert [stay.owner[:2] for stay in yard.stays()] == ["n0", "n1", "n2", "n3"]
