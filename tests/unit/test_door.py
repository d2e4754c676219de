"""Which jobs a worker keeps at its door: those whose key is known to be taken, and that are to wait for it."""

from __future__ import annotations

import pickle

import pytest
from billiard.einfo import ExceptionInfo
from celery.app.task import Context
from celery.exceptions import Retry
from kombu import Queue

from celery_locks import Fail, LockTimeout, Requeue, Skip, requeue
from celery_locks.policies import LATEST
from celery_locks.stores.base import Waiting
from celery_locks.worker import LockedRequest, door
from tests.unit.fakes import Room
from tests.unit.hall import KEY, come, job, no_store, shut


def test_a_job_whose_key_is_known_to_be_taken_is_kept(hall):
    """It has a ticket without a date, and Celery holds it as one with a countdown."""
    task = job(hall)
    kept, request = shut(task)
    assert kept
    assert kept[0].key == KEY
    assert not kept[0].comes
    seconds = (request.eta - task.app.now()).total_seconds()
    assert 0.8 * LATEST - 1 < seconds <= LATEST
    assert requeue.place(request.request_dict) == kept[0][:2]
    assert requeue.is_patient(request.request_dict)
    sent = Context(request.request_dict)
    assert requeue.requeues(sent) == 0
    assert 0 <= requeue.waited(sent) < 5


def test_a_job_whose_key_is_not_known_to_be_taken_goes_in(hall):
    """The noted key is another, and what was noted is known for a moment only."""
    task = job(hall)
    assert shut(task, 43)[0] is None
    hall.clock.advance(1.0)
    assert shut(task)[0] is None


def test_one_that_waits_here_keeps_the_next_at_the_door(hall):
    """Also when nobody has found its key taken for a while."""
    hall.waker.wait(Waiting("wallet:43", "1-a"), lambda _: None)
    task = job(hall)
    assert shut(task, 43)[0]
    assert shut(task, 44)[0] is None


def test_a_message_that_is_delivered_again_comes_back_to_its_place(hall):
    """Its worker died: the ticket it had is the one it has. A retry of the job, or another job, has one of its own."""
    task = job(hall)
    tickets = [
        shut(task, ident=ident, retries=retries, store=headers)[0][0].ticket
        for ident, retries, headers in (("a", 0, {}), ("a", 0, {}), ("a", 1, {}), ("a", 0, {requeue.REQUEUES: 1}))
    ]
    assert tickets[0] == tickets[1]
    assert len({*tickets, shut(task)[0][0].ticket}) == 4


def test_nobody_makes_a_key_while_all_is_calm(hall, monkeypatch):
    """A worker that has met no taken key does nothing for a message but look."""
    hall.waker._wanted.clear()
    monkeypatch.setattr(LockedRequest, "keys", lambda _: pytest.fail("a key was made"))
    assert shut(job(hall))[0] is None


def test_one_of_several_keys_is_enough(hall):
    """It waits for the first in order that is known to be taken, and in the line of that alone."""
    task = job(hall, lock_key=["z:{user_id}", "wallet:{user_id}", "a:{user_id}"])
    kept, request = shut(task)
    assert kept[0].key == KEY
    assert requeue.place(request.request_dict) == kept[0][:2]
    hall.waker.note("a:42")
    assert shut(task)[0][0].key == "a:42"
    assert shut(task, 43)[0] is None


def test_one_that_may_wait_in_a_slot_says_so(hall):
    """It is called as the next."""
    assert [shut(job(hall, lock_wait=wait))[0][0].comes for wait in (5, 0)] == [True, False]


@pytest.mark.parametrize(
    "options",
    [
        {"lock_fair": False},
        {"lock_on_contention": "skip"},
        {"lock_on_contention": "fail"},
        {"lock_on_contention": Skip(result="Processing")},
        {"lock_on_contention": Fail()},
        {"lock_on_contention": lambda _: Requeue()},
        {"lock_key": lambda user_id, **_: f"wallet:{user_id}"},
    ],
    ids=["unfair", "skip", "fail", "a Skip", "a Fail", "a callable policy", "a callable key"],
)
def test_a_job_that_is_not_to_wait_goes_in(hall, options):
    """Its slot has the last word: what it does there is its own."""
    assert shut(job(hall, **options))[0] is None


def test_a_job_whose_arguments_make_no_key_goes_in(hall):
    """It fails there, as it does when all is calm."""
    task = job(hall)
    for request in (come(task, 1, 2, 3), come(task, kwargs={"user": 42})):
        assert door.Door(task.app).shut(request) is None
        assert request.eta is None


def test_a_job_of_a_refused_declaration_goes_in(hall, monkeypatch):
    """It says there what is wrong."""
    task = job(hall)
    monkeypatch.setattr(task.__class__, "_plan", None)
    assert shut(task)[0] is None


def test_a_job_whose_store_cannot_be_opened_goes_in(hall, monkeypatch, caplog):
    """It says there what is wrong."""
    task = job(hall)
    monkeypatch.setattr("celery_locks.plan.Locks.from_app", no_store)
    assert shut(task)[0] is None
    assert "no such store" in caplog.text


def test_where_the_store_keeps_no_line_all_go_in():
    """There is no waker."""
    room = Room()
    assert room.guard.waker is None
    assert shut(job(room))[0] is None


@pytest.mark.parametrize(
    ("conf", "is_kept"),
    [
        ({}, True),
        ({"worker_eta_task_limit": 10}, False),
        ({"task_queues": [Queue("a"), Queue("b", queue_arguments={"x-queue-type": "quorum"})]}, False),
        ({"task_queues": [Queue("a"), Queue("b", queue_arguments={"x-max-priority": 9})]}, True),
    ],
    ids=["by default", "a limit", "a quorum queue", "a classic queue"],
)
def test_where_a_worker_may_not_hold_any_number_all_go_in(hall, conf, is_kept):
    """Those kept would be in the way of jobs for other keys."""
    assert bool(shut(job(hall, conf=conf))[0]) is is_kept


@pytest.mark.parametrize("is_own_process", [True, False])
def test_a_slot_that_found_its_key_taken_shuts_the_door(hall, is_own_process):
    """What comes next for that key waits there, in whichever pool the slot is."""
    hall.waker._wanted.clear()
    request = come(job(hall))
    for other in (None, ValueError("no"), LockTimeout("no key")):
        request.on_retry(_raised(other, is_own_process))
    assert hall.waker.is_calm()
    request.on_retry(_raised(LockTimeout("taken", "wallet:43", "somebody"), is_own_process))
    assert hall.waker.is_wanted("wallet:43")


def _raised(reason, is_own_process):
    """What the worker is told of a retry. A process pickles it, which takes it out of its wrapping."""
    try:
        _raise(Retry(exc=reason, when=1.0))
    except Retry:
        info = ExceptionInfo()
    return info if is_own_process else pickle.loads(pickle.dumps(info))  # noqa: S301 - our own


def _raise(error):
    raise error
