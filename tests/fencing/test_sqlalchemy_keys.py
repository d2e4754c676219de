"""The guard for SQLAlchemy: the lock key that a class says protects its rows."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import InvalidRequestError

from celery_locks import LockConfigError, LockNotOwned
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import joint_lease_of, lease_of, separate_leases_of
from tests.fencing.ledger import Account, Seat, opened


@pytest.fixture
def engine():
    with opened() as engine:
        yield engine


def test_an_object_of_another_key_is_refused(session):
    """A class may say which lock protects a row."""
    account = session.get(Account, 1)
    account.balance = 5
    with pytest.raises(LockNotOwned, match=r"'owner:1'.*'owner:2'"):
        fenced(session, account, lease_of(5, "owner:2"))
    session.rollback()
    with pytest.raises(LockNotOwned, match=r"'owner:1'.*'owner:2'"):
        claim(session, Account, 1, lease_of(5, "owner:2"))
    assert account.fence == 0


def test_an_object_does_not_pass_from_one_key_to_another(session):
    """It would be written under the lease of one of them only."""
    account = session.get(Account, 1)
    account.owner_id = 2
    with pytest.raises(InvalidRequestError, match="part of its lock key"):
        fenced(session, account, lease_of(5, "owner:2"))


def test_a_template_that_cannot_be_filled_in_says_so(session, monkeypatch):
    """It is a mistake in the class."""
    monkeypatch.setattr(Seat, "__fence_key__", "seat:{number}", raising=False)
    with pytest.raises(LockConfigError, match=r"'seat:\{number\}' of Seat cannot be filled in"):
        fenced(session, session.get(Seat, (1, 1)), lease_of(5))


def test_objects_of_several_keys_are_written_under_the_lease_of_all(session):
    """A transfer: both or none, each under a fence that says something about its own key."""
    mine, yours = session.get(Account, 1), Account(id=3, owner_id=2)
    session.add(yours)
    mine.balance, yours.balance = -5, 5
    fenced(session, [mine, yours], joint_lease_of(5, "owner:1", "owner:2"))
    assert (mine.fence, yours.fence) == (5, 5)
    assert claim(session, Account, 1, joint_lease_of(6, "owner:1", "owner:2")).fence == 6
    mine.balance, yours.balance = -6, 6
    with pytest.raises(LockNotOwned, match="'owner:2'"):
        fenced(session, [mine, yours], joint_lease_of(7, "owner:1", "owner:3"))


def test_to_read_a_key_anew_writes_nothing_before_its_time(session):
    """What expired is loaded for its key; a new object beside it gets its fence all the same."""
    mine = session.get(Account, 1)
    session.commit()
    session.add(yours := Account(id=3, owner_id=1))
    mine.balance = -5
    fenced(session, [mine, yours], lease_of(5, "owner:1"))
    session.commit()
    assert [session.get(Account, number).fence for number in (1, 3)] == [5, 5]


def test_objects_whose_keys_have_fences_of_their_own_are_written_by_themselves(session):
    """One number for both would be wrong for one of them."""
    mine, yours = session.get(Account, 1), Account(id=3, owner_id=2)
    session.add(yours)
    lease = separate_leases_of(**{"owner:1": 5, "owner:2": 7})
    mine.balance = -5
    with pytest.raises(LockConfigError, match="write those of each key by themselves"):
        fenced(session, [mine, yours], lease)
    mine.balance = -5
    fenced(session, mine, lease)
    yours = Account(id=3, owner_id=2)
    session.add(yours)
    fenced(session, yours, lease)
    assert (mine.fence, yours.fence) == (5, 7)
