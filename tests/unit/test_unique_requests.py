"""Jobs that end without their process saying so, or never begin: the worker's main process gives back their places."""

from __future__ import annotations

import datetime as dt
import pickle

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state
from celery.worker.request import Request

from celery_locks.lease import Claim, new_owner
from celery_locks.unique import places
from celery_locks.unique.ended import heard
from celery_locks.worker import unplaced
from tests.unit import hall
from tests.unit.fakes import FaultyStore
from tests.unit.mail import PLACE
from tests.waiting import wait_until


@pytest.fixture
def given_up(monkeypatch):
    """The jobs whose places were looked at; at once, and not by a thread."""
    seen = []

    def add(request):
        if unplaced.claim_of(request):
            seen.append(request.id)
            unplaced._give_up(request)

    monkeypatch.setattr(unplaced.unplaced, "add", add)
    return seen


@pytest.fixture
def come(room):
    """A job that has its place, as a worker has just received it; and what became of its message."""

    def new(*, headers=None, **options):
        task = hall.job(room, **{"lock_unique": "until_done", **options})._get_current_object()
        claim = places.claimed(task.name, "7", PLACE, 3600.0)
        room.store.memory.acquire(claim)
        return hall.come(task, 42, ident="7", store=places.headers_of(places.Stand(claim, None, claim.owner), headers))

    yield new
    state.revoked.discard("7")


def raised(error):
    try:
        raise error
    except type(error):
        return ExceptionInfo()


LATE = {"acks_late": True}
AGAIN = {"acks_late": True, "reject_on_worker_lost": True}


@pytest.mark.parametrize(("options", "frees"), [({}, True), (LATE, True), (AGAIN, False)])
@pytest.mark.usefixtures("given_up")
def test_a_lost_process(come, room, options, frees):
    """The place of a job that waited in it is free, unless its message comes again."""
    request = come(**options)
    if not options:
        request.acknowledge()
    request.on_failure(raised(WorkerLostError("gone")))
    assert (room.holder(PLACE) is None) is frees


def replaced():
    """What ends a job whose process has seen to its place, as it comes to the main process."""
    return pickle.loads(pickle.dumps(heard(Ignore("replaced"))))  # noqa: S301 - our own


@pytest.mark.parametrize("error", [Retry("later"), Reject("later", requeue=True), replaced()])
@pytest.mark.usefixtures("given_up")
def test_a_job_that_comes_again(come, room, error):
    """Nothing is given back, nor for one that may have been replaced."""
    request = come(**LATE)
    request.on_failure(raised(error), return_ok=True)
    assert room.holder(PLACE)


@pytest.mark.parametrize("error", [ValueError("no"), Reject("no", requeue=False), Ignore("not today")])
@pytest.mark.usefixtures("given_up")
def test_a_job_that_failed_before_it_was_called(come, room, error):
    """As in the task's `before_start`: no step of ours was on its way."""
    request = come()
    request.acknowledge()
    request.on_failure(raised(error), return_ok=True)
    assert room.holder(PLACE) is None


@pytest.mark.usefixtures("given_up")
def test_what_was_acknowledged_early_does_not_come_again(come, room):
    """Reject(requeue=True) asks the broker for a message that it has forgotten."""
    request = come()
    request.acknowledge()
    request.on_failure(raised(Reject("later", requeue=True)), return_ok=True)
    assert room.holder(PLACE) is None


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.usefixtures("given_up")
def test_a_time_limit(come, room, soft):
    """After the hard one nobody else can give it back; after the soft one its process does."""
    request = come()
    request.acknowledge()
    request.on_timeout(soft, 1)
    assert (room.holder(PLACE) is None) is not soft


@pytest.mark.usefixtures("given_up")
def test_revoked(come, room):
    """The worker discards it."""
    request = come()
    state.revoked.add("7")
    assert request.revoked()
    assert room.holder(PLACE) is None


@pytest.mark.usefixtures("given_up")
def test_revoked_while_the_key_stays_taken_after_an_earlier_try(come, room):
    """That is no other copy of it that runs: the place goes back all the same."""
    request = come(lock_at_least=60.0)
    owner = new_owner(f"{request.task.name}[7]")
    room.store.memory.acquire(Claim(request.plan.keys((42,), {})[0], owner, 60.0))
    state.revoked.add("7")
    assert request.revoked()
    assert room.holder(PLACE) is None


@pytest.mark.usefixtures("given_up")
def test_expired(come, room):
    """The worker discards it."""
    request = come()
    request.expires = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    assert request.revoked()
    assert room.holder(PLACE) is None


@pytest.mark.usefixtures("given_up")
def test_terminated(come, room):
    """Its process has been ended."""
    come().on_failure(raised(Terminated(15)))
    assert room.holder(PLACE) is None


@pytest.mark.usefixtures("given_up")
def test_broken_off_because_the_worker_ends(come, room):
    """Its message was not acknowledged, and comes again."""
    request = come(**LATE)
    request._already_cancelled = True
    request.on_failure(raised(Terminated(15)))
    assert room.holder(PLACE)


@pytest.mark.xfail(not hasattr(Request, "_retry_worker_lost"), reason="Celery does so from version 5.7 on", run=False)
@pytest.mark.usefixtures("given_up")
def test_a_lost_process_whose_job_is_tried_again(come, room):
    """It has been sent again, and keeps its place."""
    request = come(retry_on_worker_lost=True)
    request.acknowledge()
    request.on_failure(raised(WorkerLostError("gone")))
    assert room.holder(PLACE)


@pytest.mark.parametrize(("runs", "keeps"), [("bank.withdraw[7]", True), ("bank.withdraw[8]", False)])
@pytest.mark.usefixtures("given_up")
def test_a_copy_that_is_discarded_takes_nothing_from_the_one_that_runs(come, room, runs, keeps):
    """Revoked without being terminated, a job runs on: its second message is discarded. Another id is no copy."""
    request = come()
    room.take("wallet:42", owner=f"{runs}@here:1#0")
    state.revoked.add("7")
    assert request.revoked()
    assert bool(room.holder(PLACE)) is keeps


def test_a_job_without_a_place_costs_nothing(come, room):
    """Nor does one whose task is not unique."""
    request = come(lock_unique=None)
    unplaced.unplaced.add(request)
    assert unplaced.claim_of(request) is None
    assert room.store.calls == []


def test_it_is_given_back_by_a_thread(come, room, monkeypatch):
    """One that fails does not end it."""
    requests = [come(), come()]
    plain, calls = FaultyStore.release, []

    def release(store, claim):
        calls.append(claim)
        if len(calls) == 1:
            raise ValueError("whatever it may be")
        return plain(store, claim)

    monkeypatch.setattr(FaultyStore, "release", release)
    mine = unplaced.Unplaced()
    room.store.memory.force_release(PLACE)
    claim = unplaced.claim_of(requests[1])
    room.store.memory.acquire(claim)
    for request in requests:
        mine.add(request)
    wait_until(lambda: room.holder(PLACE) is None, "the thread to go on")
