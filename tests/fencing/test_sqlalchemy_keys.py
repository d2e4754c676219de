"""The guard for SQLAlchemy: the lock key that a class says protects its rows."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import InvalidRequestError

from celery_locks import LockConfigError, LockNotOwned
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import lease_of
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
