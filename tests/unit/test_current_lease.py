"""The lease that the running job holds."""

from __future__ import annotations

import threading

import pytest

from celery_locks import LockError, current_lease
from celery_locks.current import carrying
from celery_locks.lease import Claim, Lease, State
from tests.unit.fakes import START


def test_a_released_lease_is_nobodys_current_one(lease):
    """One that an interrupt left behind is not taken for the lease of the next piece of work."""
    with carrying(lease):
        lease.state = State.RELEASED
        with pytest.raises(LockError, match="no lease here"):
            current_lease()


def test_no_lease_outside_a_job():
    """Where no job runs `current_lease` says where it would work."""
    with pytest.raises(LockError, match=r"inside a LockedTask or the job given to Locks.run"):
        current_lease()


def test_the_current_lease_is_the_one_carried(lease):
    """Inside the body the lease is the current one, and after it none is."""
    with carrying(lease) as carried:
        assert current_lease() is carried is lease
    with pytest.raises(LockError):
        current_lease()


def test_an_inner_lease_hides_the_outer_one(lease, clock):
    """Nested work sees its own lease; when it ends the outer one is current again."""
    inner = Lease(Claim("report:7", "me", 10.0), fence=8, deadline=START, clock=clock)
    with carrying(lease):
        with carrying(inner):
            assert current_lease() is inner
        assert current_lease() is lease


def test_a_body_that_raises_carries_no_further(lease):
    """The lease is put down also when the body fails."""
    with pytest.raises(ZeroDivisionError), carrying(lease):
        raise ZeroDivisionError
    with pytest.raises(LockError):
        current_lease()


def test_a_thread_started_by_the_job_has_no_lease(lease):
    """A lease is not inherited by threads: hand it over."""
    seen = []

    def work():
        try:
            seen.append(current_lease())
        except LockError as error:
            seen.append(error)

    with carrying(lease):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert isinstance(seen[0], LockError)


def test_each_thread_has_its_own_current_lease(lease, clock):
    """Two threads that carry leases at once see their own."""
    other = Lease(Claim("report:7", "me", 10.0), fence=8, deadline=START, clock=clock)
    both = threading.Barrier(2)
    seen = []

    def work():
        with carrying(other):
            both.wait(30.0)
            seen.append(current_lease())
            both.wait(30.0)

    thread = threading.Thread(target=work)
    thread.start()
    with carrying(lease):
        both.wait(30.0)
        assert current_lease() is lease
        both.wait(30.0)
    thread.join()
    assert seen == [other]
