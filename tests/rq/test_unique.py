"""A job that is to be sent once, and the place that it has in its queue."""

from __future__ import annotations

import time

import pytest

from celery_locks import signals
from celery_locks.rq import LockedQueue, queue
from celery_locks.rq.house import House
from celery_locks.rq.place import claim_of
from celery_locks.rq.plans import plan_for
from tests.rq import jobs
from tests.waiting import wait_until


@pytest.fixture
def once(yard):
    return LockedQueue(yard.queue.name, connection=yard.connection)


@pytest.fixture
def place(once):
    """The place of a job, as its claim and its store."""

    def of(job):
        plan = plan_for(House.of(once.connection), job.func_name, job.func, job.func.lock_options)
        return claim_of(plan, job), plan.guard.store

    return of


def test_a_job_that_was_deleted_has_no_place(yard, once, place, monkeypatch):
    """Its sender is not waited for that is done since long: the next is sent at once."""
    monkeypatch.setattr(queue, "SENDING", 0.2)
    first = once.enqueue(jobs.single, yard.key, "first")
    claim, store = place(first)
    rival = claim._replace(owner="rival")
    wait_until(lambda: store.acquire(rival).age > queue.SENDING, "the place to be of long ago")
    first.delete()

    def waits(seconds):
        raise AssertionError(f"it waits {seconds} s")

    monkeypatch.setattr(time, "sleep", waits)
    second = once.enqueue(jobs.single, yard.key, "second")
    assert second.id != first.id
    assert once.enqueue(jobs.single, yard.key, "third").id == second.id


def test_a_job_that_is_being_sent_is_waited_for(yard, once, place, monkeypatch):
    """Its place is taken and it is not there yet: whoever sends another one gets it, and the signal says so."""
    first = once.create_job(jobs.single, args=(yard.key, "first"))
    claim, store = place(first)
    store.acquire(claim)
    told = []
    signals.duplicate.connect(told.append)
    monkeypatch.setattr(time, "sleep", lambda _: yard.queue.enqueue_job(first))
    try:
        assert once.enqueue(jobs.single, yard.key, "second").id == first.id
    finally:
        signals.duplicate.disconnect(told.append)
    assert once.job_ids == [first.id]
    assert [(each.key, each.task_id) for each in told] == [(claim.key, first.id)]


def test_a_place_that_is_given_up_when_the_job_begins(yard, once):
    """With `until_start`: a second one may be sent while the first runs, and waits for the key; not a third."""
    first = once.enqueue(jobs.single_start, yard.key, "first")
    assert once.enqueue(jobs.single_start, yard.key, "second").id == first.id
    with yard.workers(1):
        yard.began("first")
        second = once.enqueue(jobs.single_start, yard.key, "second")
        assert second.id != first.id
        assert once.enqueue(jobs.single_start, yard.key, "third").id == second.id
        for name in ("first", "second"):
            yard.enough(name)
        yard.becomes(second, "finished")
    yard.were_apart(2)
