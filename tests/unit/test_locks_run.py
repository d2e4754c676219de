"""Work done under a lock: `Locks.run`."""

from __future__ import annotations

import pytest

from celery_locks import (
    LockConfigError,
    LockLost,
    LockTimeout,
    StoreUnavailable,
    current_lease,
)
from tests.unit.fakes import START


def test_run_gives_the_jobs_result(room):
    """The job runs with the key taken, and its result is the result."""
    assert room.locks.run("wallet:42", lambda: room.holder() is not None) is True
    assert room.holder() is None


def test_run_makes_its_lease_the_current_one(room):
    """The job finds its fence."""
    assert room.locks.run("wallet:42", lambda: current_lease().fence) > 0


def test_run_raises_at_once_when_taken(room):
    """Without `wait` a taken key is a `LockTimeout`."""
    room.take(owner="somebody")
    with pytest.raises(LockTimeout, match="'wallet:42' is held by somebody: try later"):
        room.locks.run("wallet:42", int)
    assert room.clock.slept == []


def test_run_waits_as_long_as_asked(room):
    """Then it raises, and says how long it waited."""
    room.take(ttl=1000.0)
    with pytest.raises(LockTimeout, match="is held by somebody after 30 s"):
        room.locks.run("wallet:42", int, wait=30)
    assert room.clock.now - START == pytest.approx(30.0)


@pytest.mark.parametrize("busy", ["Processing", None, False, 0])
def test_run_gives_what_stands_for_busy(room, busy):
    """Whatever was named, None among them, instead of an error."""
    room.take()
    assert room.locks.run("wallet:42", lambda: "ran", busy=busy) is busy


def test_run_does_not_take_an_outage_for_busy(room):
    """Not knowing is no contention: an error, also where `busy` was named."""
    room.store.fail("acquire")
    with pytest.raises(StoreUnavailable):
        room.locks.run("wallet:42", int, busy="Processing")


def test_run_raises_what_the_job_raises(room):
    """And gives the key back."""
    with pytest.raises(ZeroDivisionError):
        room.locks.run("wallet:42", lambda: 1 / 0)
    assert room.holder() is None


def test_run_raises_when_its_lease_was_lost(room):
    """The work is done, but perhaps not alone."""
    with pytest.raises(LockLost):
        room.locks.run("wallet:42", lambda: room.clock.advance(40.0), ttl=30)


def test_run_beats_when_asked(room):
    """A long job keeps its key."""
    assert len(room.locks.run("wallet:42", room.watched, ttl=9, heartbeat=True)) == 1
    assert room.locks.run("wallet:42", room.watched) == []


@pytest.mark.parametrize("wait", [-1, None, "5", float("nan")], ids=repr)
def test_run_refuses_a_wait_that_is_none(room, wait):
    """A wrong wait is an error, not for ever."""
    with pytest.raises(LockConfigError, match="lock 'wallet:42': wait must be a number of seconds, 0 or more"):
        room.locks.run("wallet:42", int, wait=wait)


@pytest.mark.parametrize("job", [None, 7, "job"], ids=repr)
def test_run_refuses_what_cannot_be_called(room, job):
    """Before the key is taken: most likely the job was called, and this is its result."""
    with pytest.raises(
        LockConfigError, match=r"lock 'wallet:42': the job must be a callable, not of type .*: write job"
    ):
        room.locks.run("wallet:42", job)
    assert room.holder() is None
