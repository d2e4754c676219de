"""A locked task called directly, and without its store."""

# ruff: noqa: ARG001 - the body of a task takes what it is locked on

from __future__ import annotations

import pytest

from celery_locks import (
    LockTimeout,
    Requeue,
    Skip,
    StoreUnavailable,
    current_lease,
)
from tests.unit.bank import job

# A direct call


def test_a_direct_call_takes_the_lock(room):
    """`withdraw(42)` holds the key while it runs, and gives the result."""
    assert job(room)(42).startswith("bank.withdraw@")
    assert room.holder() is None


def test_a_direct_call_of_a_taken_key_times_out(room):
    """There is no queue to go back to: `LockTimeout`, and the body does not run."""
    room.take(owner="somebody")
    ran = []

    def withdraw(user_id):
        ran.append(user_id)

    with pytest.raises(LockTimeout) as caught:
        job(room, withdraw)(42)
    assert str(caught.value) == "'wallet:42' is held by somebody; the job gives up"
    assert (caught.value.key, caught.value.holder) == ("wallet:42", "somebody")
    assert ran == []


@pytest.mark.parametrize("policy", ["requeue", "skip", "fail", Requeue(5), lambda _: Requeue(5)], ids=str)
def test_a_direct_call_times_out_whatever_the_policy(room, policy):
    """A caller is no queue, and waits for a result: what has none is an error."""
    room.take()
    with pytest.raises(LockTimeout):
        job(room, lock_on_contention=policy)(42)


def test_a_direct_call_may_get_the_skips_result(room):
    """`Skip(result="Processing")` is what it gives."""
    room.take()
    assert job(room, lock_on_contention=Skip(result="Processing"))(42) == "Processing"


def test_a_direct_call_waits(room):
    """`lock_wait` applies."""
    holder = room.take(ttl=1000.0)
    room.clock.later(3.0, lambda: room.free(holder))
    assert job(room, lock_wait=5)(42)


def test_a_direct_call_with_wrong_arguments_is_a_type_error(room):
    """As without a lock, and nothing is taken."""
    with pytest.raises(TypeError, match="user_id"):
        job(room)()
    assert room.store.calls == []


def test_what_the_body_raises_is_raised(room):
    """And the key is free."""

    def withdraw(user_id):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job(room, withdraw)(42)
    assert room.holder() is None


def test_a_task_that_calls_itself_on_its_own_key_times_out(room):
    """The lock is not re-entrant: the inner call says so instead of waiting for ever."""

    def withdraw(self, user_id):
        if not room.clock.slept:
            room.clock.sleep(1.0)
            return self(user_id)
        return "inner"

    with pytest.raises(LockTimeout, match=r"is held by bank.withdraw@"):
        job(room, withdraw, bind=True)(42)
    assert room.holder() is None


@pytest.mark.parametrize("call", [lambda task: task(1), lambda task: task.apply((1,)).get()], ids=["direct", "eager"])
def test_a_task_that_calls_itself_on_another_key_has_two_leases(room, call):
    """The inner call has its own, and afterwards the outer one is back."""
    seen = []

    def withdraw(self, user_id):
        seen.append((self.lease.key, current_lease().key))
        if user_id == 1:
            self(2)
            seen.append((self.lease.key, current_lease().key))

    call(job(room, withdraw, bind=True))
    assert seen == [("wallet:1", "wallet:1"), ("wallet:2", "wallet:2"), ("wallet:1", "wallet:1")]


def test_an_inner_call_is_an_execution_of_its_own(room):
    """It has no task id of its own, and never the outer one's."""
    owners = []

    def withdraw(self, user_id):
        owners.append(self.lease.owner)
        if user_id == 1:
            self(2)

    job(room, withdraw, bind=True).apply((1,), task_id="outer").get()
    assert owners[0].startswith("bank.withdraw[outer]@")
    assert owners[1].startswith("bank.withdraw@")


# Outages


@pytest.mark.parametrize("policy", ["requeue", "fail"])
def test_without_its_store_a_job_does_not_run(room, policy):
    """Called directly or eagerly it cannot go back: `StoreUnavailable`, with the key and the cause."""
    ran = []

    def withdraw(user_id):
        ran.append(user_id)

    task = job(room, withdraw, lock_on_outage=policy)
    room.store.fail("acquire", times=2)
    with pytest.raises(StoreUnavailable, match="'wallet:42' could not be locked: the server does not answer") as caught:
        task(42)
    assert caught.value.key == "wallet:42"
    with pytest.raises(StoreUnavailable):
        task.apply((42,)).get()
    assert ran == []


def test_a_job_may_be_told_to_run_without_its_store(room):
    """`lock_on_outage="run"`: it runs, its lease says that it is none."""

    def withdraw(self, user_id):
        return self.lease.held(), current_lease().fence

    room.store.fail("acquire")
    assert job(room, withdraw, bind=True, lock_on_outage="run")(42) == (False, 0)


def test_an_outage_inside_the_job_is_the_jobs_own(room):
    """Whatever `lock_on_outage` says, the job is not run twice, and its error is its own."""
    ran = []

    def withdraw(user_id):
        ran.append(user_id)
        raise StoreUnavailable("another store")

    with pytest.raises(StoreUnavailable, match=r"^another store$"):
        job(room, withdraw, lock_on_outage="run")(42)
    assert ran == [42]
