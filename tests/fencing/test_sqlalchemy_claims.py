"""The guard for SQLAlchemy: the fence comes first, and then what is read, on each database."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import InvalidRequestError, NoResultFound
from sqlalchemy.orm import Session

from celery_locks import StaleFence
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import Wallet, raised, stored


def test_without_changes_it_claims(engine):
    """The fence is written, and the object is as it is stored now."""
    with Session(engine, expire_on_commit=False) as session:
        wallet = session.get(Wallet, 1)
        session.commit()
        raised(engine, 1, 4)
        fenced(session, wallet, lease_of(5))
        assert (wallet.balance, wallet.fence) == (7, 5)
        session.commit()
    assert stored(engine)[1] == (7, 5)


def test_a_claim_reads_what_is_stored_now(engine):
    """Also into an object that the session had before."""
    with Session(engine, expire_on_commit=False) as session:
        wallet = session.get(Wallet, 1)
        session.commit()
        raised(engine, 1, 4)
        assert claim(session, Wallet, 1, lease_of(5)) is wallet
        assert (wallet.balance, wallet.fence) == (7, 5)
        session.commit()
    assert stored(engine)[1] == (7, 5)


def test_a_stale_claim_is_refused(engine, session):
    """And leaves nothing."""
    raised(engine, 1, 6)
    with pytest.raises(StaleFence):
        claim(session, Wallet, 1, lease_of(5))
    session.commit()
    assert stored(engine)[1] == (7, 6)


def test_a_claim_of_a_row_that_is_not_there_says_so(session):
    """It is not stale."""
    with pytest.raises(NoResultFound, match=r"row id=9 of wallets is not there"):
        claim(session, Wallet, 9, lease_of(5))


def test_what_was_changed_is_not_claimed_afterwards(session):
    """The change rests on what was read before the claim."""
    session.get(Wallet, 1).balance = 50
    with pytest.raises(InvalidRequestError, match="claim it first"):
        claim(session, Wallet, 1, lease_of(5))


def test_two_sessions_are_told_apart(engine):
    """The second finds the first one's fence, whatever it has read before."""
    with Session(engine) as newer, Session(engine, expire_on_commit=False) as stale:
        wallet = stale.get(Wallet, 1)
        stale.commit()
        claim(newer, Wallet, 1, lease_of(6)).balance = 60
        newer.commit()
        wallet.balance = 50
        with pytest.raises(StaleFence):
            fenced(stale, wallet, lease_of(5))
    assert stored(engine)[1] == (60, 6)
