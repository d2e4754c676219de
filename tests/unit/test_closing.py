"""Those who wait in their slots are called back when their worker is about to end."""

from __future__ import annotations

import threading

import pytest
from celery.exceptions import Reject, Retry

from celery_locks import closing
from celery_locks.closing import AT_ONCE, NOT, SOON, Closing
from celery_locks.lease import Busy, Claim
from celery_locks.patience import Patience
from tests.unit.bank import job
from tests.unit.fakes import in_child


@pytest.fixture(autouse=True)
def here():
    """A worker that this process belongs to."""
    yield closing.adopt(Closing())
    closing.mine = None


def test_only_those_who_wait_are_called(here):
    """From the moment the worker is about to end, and until they have gone."""
    here.enter("ann", 3)
    assert not closing.calls("ann")
    here.begin(SOON)
    assert closing.calls("ann")
    assert not closing.calls("bob")
    here.leave("ann", 3)
    assert not closing.calls("ann")


def test_nobody_is_called_outside_a_worker():
    """Plain code has nowhere to go back to."""
    closing.mine = None
    assert not closing.calls("ann")
    assert not closing.may_call("ann")


def test_a_forked_process_hears_of_it(here):
    """The memory is shared: what is told after the fork is heard, and who waits is known."""
    told, ready = threading.Event(), Closing()

    def child():
        here.enter("ann", 1)
        ready.begin(SOON)
        for _ in range(1000):
            if closing.calls("ann"):
                return
            told.wait(0.01)
        raise TimeoutError("nothing was heard")

    def parent():
        while ready.how == NOT:
            told.wait(0.01)
        here.begin(AT_ONCE)

    teller = threading.Thread(target=parent)
    teller.start()
    in_child(child)
    teller.join()
    assert here.how == AT_ONCE


def test_all_are_waited_for_but_not_for_ever(here):
    """Until the last one has gone, or the time is over."""
    here.enter("ann", 1)
    here.let_all_go(longest=0.05)
    threading.Timer(0.05, here.leave, ("ann", 1)).start()
    here.let_all_go(longest=30.0)
    assert not here.has("ann")


def test_what_has_gone_back_is_known(here):
    """While the worker ends, for the last job of each process."""
    here.goes("7", 1)
    assert not here.has_gone("7")
    here.begin(SOON)
    assert here.has_gone("7")
    here.goes("8", 1)
    here.goes("9", 2)
    assert [here.has_gone(task_id) for task_id in "789"] == [False, True, True]


def test_a_worker_does_not_begin_to_end_less(here):
    """At once stays at once."""
    here.begin(AT_ONCE)
    here.begin(SOON)
    assert here.how == AT_ONCE


def test_a_nap_ends_when_called(here):
    """Long before its time, and not at all for one that cannot go back."""
    here.enter("ann", 1)
    threading.Timer(0.05, here.begin, (SOON,)).start()
    closing.nap(threading.Event(), 300.0, "ann")
    assert here.how == SOON
    closing.nap(threading.Event(), 0.01, "bob")


# Waiting


@pytest.mark.parametrize("when", [0, 3])
def test_who_looks_again_does_it_no_more(here, room, when):
    """It is told that the key is taken, as if its time was over."""
    room.take()
    here.enter("ann", 1)
    if when:
        room.clock.later(when, lambda: here.begin(SOON))
    else:
        here.begin(SOON)
    started = room.clock()
    waiting = Patience(room.store, None, room.clock, room.clock.sleep)
    assert isinstance(waiting.wait(Claim("wallet:42", "ann", 30.0), Busy("x", 1000.0), started, 300.0), Busy)
    assert room.clock() - started == pytest.approx(when, abs=0.3)


# Jobs


@pytest.fixture
def waiting(room, monkeypatch):
    """Run a job that waits in its slot while its worker is about to end, and see what is published."""

    def run(how, **options):
        room.take()
        published = []
        task = job(room, lock_wait=300.0, **options)._get_current_object()
        monkeypatch.setattr(task, "apply_async", lambda *_, **sent: published.append(sent))
        task.push_request(id="7", args=[42], kwargs={}, called_directly=False, headers={})
        room.clock.later(5.0, lambda: closing.mine.begin(how))
        try:
            task(42)
        except BaseException as error:  # noqa: BLE001 - how it ended is what is looked at
            return error, published
        finally:
            task.pop_request()

    return run


@pytest.mark.parametrize("late", [False, True])
def test_a_job_goes_back_uncounted(room, waiting, late):
    """As soon as it is called, to be started at once elsewhere: this was no wait that it lost."""
    started = room.clock()
    ended, [sent] = waiting(SOON, acks_late=late)
    assert isinstance(ended, Retry)
    assert room.clock() - started < 6.0
    assert sent["task_id"] == "7"
    assert sent["countdown"] == 0.0
    assert "lock_requeues" not in sent["headers"]
    assert closing.mine.has_gone("7")
    assert not closing.mine.has("7")


@pytest.mark.parametrize("policy", ["skip", "fail"])
def test_a_job_goes_back_whatever_its_policy(waiting, policy):
    """It has not waited for as long as it may."""
    ended, published = waiting(SOON, lock_on_contention=policy)
    assert isinstance(ended, Retry)
    assert len(published) == 1


def test_the_broker_brings_back_what_is_not_acknowledged(waiting):
    """A worker that ends at once hears no more of its pool: a message of ours would be a second one."""
    ended, published = waiting(AT_ONCE, acks_late=True)
    assert isinstance(ended, Reject)
    assert ended.requeue
    assert published == []
    ended, published = waiting(AT_ONCE, acks_late=False)
    assert isinstance(ended, Retry)
    assert len(published) == 1


def test_who_runs_waits_no_more(here, room):
    """A job that got its key is not called back, and is not waited for."""
    seen = []

    def withdraw(user_id):  # noqa: ARG001 - it is in the key
        seen.extend(here._waiting)

    task = job(room, withdraw, lock_wait=300.0)._get_current_object()
    task.push_request(id="7", args=[42], kwargs={}, called_directly=False, headers={})
    task(42)
    task.pop_request()
    assert seen == []
