"""The place of a job that is on its queue once, when the job finds its key taken."""

from __future__ import annotations

import pytest
from rq import SimpleWorker

from celery_locks import signals
from celery_locks.rq import LockedQueue, again
from tests.rq import jobs
from tests.unit.fakes import heard

NEWER = pytest.mark.skipif(not again.RETURNS, reason="RQ 2.0 knows the other way alone")


@pytest.fixture(params=[pytest.param(True, marks=NEWER, id="returns"), pytest.param(False, id="raises")], autouse=True)
def way(request, monkeypatch):
    """How a job goes back: as with RQ 2.1 and newer, and as with RQ 2.0."""
    monkeypatch.setattr(again, "RETURNS", request.param)


@pytest.fixture
def tried(yard):
    """Tries a job once, whose place is lost and whose key is taken; the job, and the place."""

    def try_once(function):
        job = LockedQueue(yard.queue.name, connection=yard.connection).enqueue(function, yard.key, "first")
        [place] = [each for each in yard.locks.list("unique:*") if job.id in each.owner]
        assert yard.locks.force_release(place.key)
        with yard.locks.lock(yard.key, ttl=60):
            SimpleWorker([yard.queue], connection=yard.connection).work(burst=True, max_jobs=1)
        return job, place

    return try_once


def test_one_that_goes_back_has_its_place_for_as_long_again(yard, tried):
    """And whoever listens hears that it waits."""
    with heard(signals.requeued) as events:
        job, place = tried(jobs.single)
    assert job.get_status() == "queued"
    assert yard.locks.holder(place.key).owner == place.owner
    assert [(event.key, event.task_id) for event in events] == [(yard.key, job.id)]


def test_one_that_is_skipped_has_ended(yard, tried):
    """It needs no place any more."""
    job, place = tried(jobs.single_skipped)
    assert job.get_status() == "canceled"
    assert not yard.locks.locked(place.key)
