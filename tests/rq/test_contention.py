"""Jobs that want one key, in two workers."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from rq import Callback, Retry
from rq.command import send_stop_job_command

try:
    from rq import RateLimit
except ImportError:
    RateLimit = None

from celery_locks.rq import LockedQueue, waiting
from tests.rq import jobs
from tests.rq.yard import PATIENCE
from tests.waiting import wait_until


def test_jobs_of_one_key_run_one_at_a_time_and_keep_what_they_were_sent_with(shared):
    """None is lost, none spends a retry, each callback is called once, and dependents follow."""
    callbacks = {"on_success": Callback(jobs.done), "on_failure": Callback(jobs.gone_wrong)}
    kept = {"retry": Retry(max=2, interval=60), "job_timeout": 50, "result_ttl": 70, "failure_ttl": 80}
    sent = [
        shared.send(jobs.brief, f"n{each}", job_id=f"id-{id(shared)}-{each}", meta={"n": each}, **kept, **callbacks)
        for each in range(8)
    ]
    after = shared.send(jobs.follows, "last", depends_on=sent)
    shared.becomes(after, "finished")
    shared.were_apart(8)
    for each, job in enumerate(sent):
        job.refresh()
        assert (job.get_status(), job.return_value(), job.meta) == ("finished", f"n{each}", {"n": each})
        assert (job.retries_left, job.timeout, job.result_ttl, job.failure_ttl) == (2, 50, 70, 80)
        assert (job.origin, waiting(job)) == ("shared", None)
    wait_until(lambda: len(shared.lines("done.txt")) == 8, "all callbacks", PATIENCE)
    assert sorted(shared.lines("done.txt")) == sorted(f"{job.id} n{each}" for each, job in enumerate(sent))
    assert shared.lines("wrong.txt") == []
    assert not list(shared.connection.scan_iter("rq:locks:waiting:shared"))
    workers = shared.connection.smembers("rq:workers:shared")
    counts = [shared.connection.hget(key, "failed_job_count") for key in workers]
    assert {int(count or 0) for count in counts} == {0}


def test_a_job_that_waits_shows_for_what_and_runs_when_it_is_called(shared):
    """Long before its countdown is over; what counted its waiting is gone then."""
    first = shared.send(jobs.hold, "first")
    shared.began("first")
    before = shared.send(jobs.follows, "before")
    second = shared.send(jobs.patient, "second", on_success=Callback(jobs.done), depends_on=before)
    shared.waits(second)
    shown = waiting(second)
    assert (shown.key, shown.requeues) == (shared.key, 1)
    assert first.id in shown.holder
    assert second.id in shared.queue.scheduled_job_registry
    assert before.id in str(second.dependency_ids)
    released = time.monotonic()
    shared.enough("first")
    shared.becomes(second, "finished")
    assert time.monotonic() - released < 20
    shared.were_apart(2)
    assert not shared.connection.hexists(second.key, "lock_waits")
    assert shared.lines("done.txt") == [f"{second.id} second"]


def test_a_job_whose_countdown_ends_tries_again_without_a_scheduler(shared):
    """At the end of its queue, and again, as often as it has to."""
    shared.send(jobs.hold, "first")
    shared.began("first")
    second = shared.send(jobs.impatient, "second")
    wait_until(lambda: (shown := waiting(second)) and shown.requeues > 2, "three tries", PATIENCE)
    shared.enough("first")
    shared.becomes(second, "finished")
    shared.were_apart(2)
    assert shared.who() == ["first", "second"]


def test_a_job_that_is_cancelled_while_it_waits_does_not_run(shared):
    """And those behind it do."""
    shared.send(jobs.hold, "first")
    shared.began("first")
    second = shared.send(jobs.patient, "second")
    shared.waits(second)
    third = shared.send(jobs.patient, "third")
    shared.waits(third)
    second.cancel()
    shared.enough("first")
    shared.becomes(third, "finished")
    assert second.get_status() == "canceled"
    shared.were_apart(2)


def test_policies(shared):
    """A job is skipped, answered, or fails, as its policy says; a callable may decide by what it has met."""
    shared.send(jobs.hold, "first")
    shared.began("first")
    skipped, answered = shared.send(jobs.skipped, "a"), shared.send(jobs.answered, "b")
    failing = shared.send(jobs.failing, "c", on_failure=Callback(jobs.gone_wrong))
    persistent = shared.send(jobs.persistent, "d")
    assert shared.becomes(skipped, "canceled", "finished", "failed") == "canceled"
    assert 0 < shared.connection.ttl(skipped.key) <= 500
    shared.becomes(answered, "finished")
    assert answered.return_value() == "Processing"
    shared.becomes(failing, "failed")
    assert "LockTimeout" in failing.latest_result().exc_string
    assert shared.lines("wrong.txt") == [f"{failing.id} LockTimeout"]
    shared.becomes(persistent, "failed")
    assert "the job gives up: enough" in persistent.latest_result().exc_string
    shared.enough("first")
    shared.were_apart(1)


def test_a_job_that_is_on_its_queue_twice_runs_once_while_it_runs(shared):
    """Its other copy is dropped, whoever holds the key is the job itself."""
    job = shared.send(jobs.hold, "first")
    shared.began("first")
    shared.queue.push_job_id(job.id)
    # The other worker does one after the other.
    shared.becomes(shared.send(jobs.follows, "copy"), "finished")
    shared.enough("first")
    shared.becomes(job, "finished")
    shared.were_apart(1)
    assert shared.who() == ["first"]


def test_functions_are_locked_by_settings_alone(shared):
    """A pattern of names is enough: nothing of the function knows of it."""
    shared.send(jobs.plain, "first")
    shared.began("first")
    second = shared.send(jobs.plain, "second")
    shared.waits(second)
    shared.enough("first")
    shared.enough("second")
    shared.becomes(second, "finished")
    shared.were_apart(2)
    assert shared.who() == ["first", "second"]


def test_a_second_send_gives_the_first_job(shared):
    """Until that has ended, also badly."""
    queue = LockedQueue("shared", connection=shared.connection)
    first = queue.enqueue(jobs.single, shared.key, "first")
    assert queue.enqueue(jobs.single, shared.key, "first").id == first.id
    shared.began("first")
    assert queue.enqueue(jobs.single, shared.key, "second").id == first.id
    assert queue.enqueue_in(timedelta(seconds=1), jobs.single, shared.key, "third").id == first.id
    shared.enough("first")
    shared.becomes(first, "finished")
    second = queue.enqueue(jobs.single, shared.key, "second")
    assert second.id != first.id
    shared.began("second")
    send_stop_job_command(shared.connection, second.id)
    shared.becomes(second, "stopped")
    third = queue.enqueue(jobs.single, shared.key, "third")
    assert third.id not in (first.id, second.id)
    shared.enough("third")
    shared.becomes(third, "finished")


def test_slots(shared):
    """So many hold the key together, of RQ and of plain code, and another waits until one of them leaves."""
    with shared.locks.lock(shared.key, ttl=60, slots=2):
        first = shared.send(jobs.in_slots, "first")
        shared.began("first")
        second = shared.send(jobs.in_slots, "second")
        shared.waits(second)
        shared.enough("first")
        shared.began("second")
        shared.enough("second")
        for job in (first, second):
            shared.becomes(job, "finished")
    shared.were_apart(2)


def test_several_keys_and_coroutines(shared):
    """All keys or none, and a coroutine's work is done under its lock."""
    sent = [shared.send(jobs.both, f"b{each}") for each in range(3)]
    for job in sent:
        shared.becomes(job, "finished")
    shared.becomes(shared.send(jobs.awaited, "c"), "finished")
    shared.were_apart(4)


@pytest.mark.parametrize("how", ["stopped", "failed"])
def test_a_job_that_is_broken_off_frees_its_key_at_once(shared, how):
    """By a stop command, or for its time, with a ttl of minutes."""
    job = shared.send(
        jobs.hold_long, "first", job_timeout=2 if how == "failed" else 60, on_stopped=Callback(jobs.stopped)
    )
    shared.began("first")
    waits = shared.send(jobs.patient, "second")
    if how == "stopped":
        shared.waits(waits)
        send_stop_job_command(shared.connection, job.id)
    shared.becomes(job, how)
    shared.becomes(waits, "finished")
    assert (shared.folder / "stopped").exists() == (how == "stopped")
    shared.were_apart(1)


def test_what_a_job_calls_by_hand_does_not_go_back(shared):
    """It is no job, and finds its key taken by the job that calls it."""
    job = shared.send(jobs.calls_by_hand, "first")
    shared.becomes(job, "finished")
    assert job.return_value() == "taken"


@pytest.mark.newest
@pytest.mark.skipif(RateLimit is None, reason="RQ has rate limits from version 3 on")
def test_a_job_with_a_rate_limit_gives_its_slot_up_while_it_waits(shared):
    """Another key's job may have it, and the one that waits comes through the same gate."""
    shared.send(jobs.hold, "first")
    shared.began("first")
    limit = {"rate_limit": RateLimit(key=shared.key, concurrency=1)}
    waits = shared.send(jobs.patient, "second", **limit)
    shared.waits(waits)
    elsewhere = shared.folder / "elsewhere"
    elsewhere.mkdir()
    shared.becomes(shared.queue.enqueue(jobs.brief, str(elsewhere), "other", **limit), "finished")
    shared.enough("first")
    shared.becomes(waits, "finished")
    shared.were_apart(2)
