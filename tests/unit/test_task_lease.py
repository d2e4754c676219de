"""The lease of a locked task, and its loss."""

# ruff: noqa: ARG001 - the body of a task takes what it is locked on

from __future__ import annotations

import threading

import pytest

from celery_locks import (
    LockedTask,
    LockError,
    LockLost,
    current_lease,
    execution,
    pooled,
)
from celery_locks.interrupt import kill
from tests.unit import bank
from tests.unit.bank import job
from tests.unit.fakes import Room, in_child

# The lease


def test_outside_a_job_a_task_has_no_lease(room):
    """Before, after, and where the task only is."""
    task = job(room)
    task(42)
    with pytest.raises(LockError, match=r"task bank.withdraw holds no lease here"):
        _ = task.lease


def test_a_task_does_not_show_anothers_lease(room):
    """Inside a job of one task another task, which does not run, has no lease."""
    other = job(room)

    def withdraw(user_id):
        return user_id, other.lease

    with pytest.raises(LockError, match="holds no lease here"):
        bank.task(withdraw, room=room, name="bank.other")(42)


def test_the_lease_of_a_task_is_the_current_one(room):
    """`self.lease` and `current_lease()` are the same, and held."""

    def withdraw(self, user_id):
        return self.lease is current_lease(), self.lease.held(), self.lease.ttl

    assert job(room, withdraw, bind=True, lock_ttl=12)(42) == (True, True, 12.0)


def test_two_threads_on_one_task_see_their_own_leases(room):
    """No state is on the task object: overlapping jobs do not free each other's locks."""
    both = threading.Barrier(2)
    seen = {}

    def withdraw(self, user_id):
        both.wait(30.0)
        seen[user_id] = (self.lease.key, current_lease().key, self.request.args[0])
        both.wait(30.0)

    task = job(room, withdraw, bind=True)
    threads = [threading.Thread(target=task.apply, args=((user_id,),)) for user_id in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert seen == {1: ("wallet:1", "wallet:1", 1), 2: ("wallet:2", "wallet:2", 2)}
    assert [room.holder("wallet:1"), room.holder("wallet:2")] == [None, None]


def test_a_job_changes_nothing_on_its_task(room):
    """Neither a run nor a refusal leaves anything on the task object or its class."""
    task = job(room)
    task(1)  # Celery itself keeps a default request from then on
    before = (dict(vars(task._get_current_object())), dict(vars(type(task._get_current_object()))))
    task(42)
    room.take()
    task.apply((42,))
    assert (dict(vars(task._get_current_object())), dict(vars(type(task._get_current_object())))) == before


def test_a_job_sees_its_own_request(room):
    """The lock does not stand between a job and its request."""

    def withdraw(self, user_id):
        return self.request.id, self.request.args, self.request.retries, self.request.is_eager

    assert job(room, withdraw, bind=True).apply((42,), task_id="7").get() == ("7", (42,), 0, True)


def test_what_a_body_sets_on_its_request_counts(room):
    """To stop its chain or its links, for its handlers, or for itself: it is the request and no copy of it."""
    seen = []

    class Handled(LockedTask):
        abstract = True

        def on_success(self, *_):
            seen.append((self.request.mark, self.request.callbacks, self.request.chain))

    def withdraw(self, user_id):
        self.request.mark = 5
        self.request.callbacks = self.request.chain = None

    task = job(room, withdraw, bind=True, base=Handled)
    task.apply((42,), link=task.si(43), chain=[task.si(44)])
    assert seen == [(5, None, None)]


def test_a_lease_is_on_the_request_only_while_the_body_runs(room):
    """The handlers of a job that is over have the properties that were sent."""
    seen = []

    class Handled(LockedTask):
        abstract = True

        def after_return(self, *_):
            seen.append(self.request.properties)

    def withdraw(user_id): ...

    job(room, withdraw, base=Handled).apply((42,))
    assert [execution.LEASE in (each or {}) for each in seen] == [False]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(None, id="none"),
        pytest.param({"tenant": 3}, id="some"),
    ],
)
def test_a_job_sees_the_headers_it_was_sent_with(room, sent):
    """A lease is no header: what the job publishes or retries must not carry it."""

    def withdraw(self, user_id):
        return self.request.headers

    headers = job(room, withdraw, bind=True).apply((42,), headers=sent).get()
    assert (headers or {}) == (sent or {})


def test_a_job_is_kept_while_it_runs(room):
    """At a third of its ttl; with `lock_heartbeat=False` not in its ttl, and not watched if a loss is only flagged."""

    def withdraw(user_id):
        return [each.interval for each in room.keeper._watched.values()]

    assert job(room, withdraw, lock_ttl=12)(42) == [4.0]
    assert job(room, withdraw, lock_heartbeat=False)(42) > [30.0]
    assert job(room, withdraw, lock_heartbeat=False, lock_on_lost="flag")(42) == []


def test_a_job_leaves_nothing_in_the_keeper(room):
    """However it ends."""

    def withdraw(user_id):
        if user_id:
            raise ZeroDivisionError

    task = job(room, withdraw)
    task(0)
    with pytest.raises(ZeroDivisionError):
        task(42)
    assert room.watched() == []


# Losses


def lose_it(room: Room, went_on: list[int], lingering: float = 10.0):
    """A body whose key is taken away, whose keeper notices from its thread, and which has time to be ended for it."""

    def withdraw(user_id):
        room.steal(f"wallet:{user_id}")
        room.clock.advance(10.0)
        keeper = threading.Thread(target=room.keeper.tick)
        keeper.start()
        keeper.join()
        threading.Event().wait(lingering)
        went_on.append(user_id)
        return current_lease().held()

    return withdraw


def test_a_lost_lease_stops_the_job(room):
    """By default `LockLost` is raised in its body, which does not go on."""
    went_on = []
    with pytest.raises(LockLost, match="'wallet:42' is gone: the store says"):
        job(room, lose_it(room, went_on))(42)
    assert (room.holder(), went_on) == ("thief", [])


def test_a_job_that_does_not_notice_ends_with_the_loss(room):
    """Not watched and done: still `LockLost`, for the work may not have been alone."""

    def withdraw(user_id):
        room.clock.advance(31.0)

    with pytest.raises(LockLost):
        job(room, withdraw, lock_heartbeat=False)(42)


def test_a_flagged_job_goes_on(room):
    """`lock_on_lost="flag"`: the lease says so, the job decides, its result counts."""
    went_on = []
    assert job(room, lose_it(room, went_on, lingering=0.0), lock_on_lost="flag")(42) is False
    assert went_on == [42]


def test_a_job_to_be_killed_is_stopped_where_there_is_no_pool_process(room):
    """`lock_on_lost="kill"` never ends a process that is not a pool's."""
    went_on = []
    with pytest.raises(LockLost):
        job(room, lose_it(room, went_on), lock_on_lost="kill")(42)
    assert went_on == []


def test_a_job_to_be_killed_takes_its_pool_process_along(room, monkeypatch):
    """In a pool's process nobody else holds the key before it is gone."""
    monkeypatch.setattr(pooled, "is_pooled", lambda: True)
    assert in_child(lambda: job(room, lose_it(room, []), lock_on_lost="kill")(42)) == -9


def test_only_kill_kills(room, monkeypatch):
    """The other policies do not end a pool's process."""
    monkeypatch.setattr(pooled, "is_pooled", lambda: True)
    plan = job(room)._get_current_object()._plan
    assert execution.Execution(job(room)._get_current_object(), plan, (42,), {})._on_lost() is not kill
