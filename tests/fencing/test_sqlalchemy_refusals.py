"""The guard for SQLAlchemy: what is refused to a session, and what becomes of its transaction, on each database."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from celery_locks import LockError, LockLost, LockNotOwned, StaleFence
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import WALLETS, Wallet, raised, stored


def test_a_stale_holder_is_refused(engine, session):
    """With an error that says which row, which fence and which key."""
    wallet = session.get(Wallet, 1)
    session.commit()
    raised(engine, 1, 6)
    wallet.balance = 50
    with pytest.raises(StaleFence, match=r"row id=1 of wallets was not written: fence 5 of 'wallet'.* fence 6 has"):
        fenced(session, wallet, lease_of(5))
    session.rollback()
    assert stored(engine)[1] == (7, 6)


def test_a_refusal_is_as_a_flush_that_failed(engine, session):
    """Who catches it and goes on to commit is told, and commits nothing."""
    raised(engine, 1, 6)
    session.get(Wallet, 2).balance = 1
    session.flush()
    session.get(Wallet, 1).balance = 50
    with pytest.raises(StaleFence):
        fenced(session, session.get(Wallet, 1), lease_of(5))
    with pytest.raises((PendingRollbackError, InvalidRequestError)):
        session.commit()
    session.rollback()
    session.commit()
    assert stored(engine) == {1: (7, 6), 2: (100, 0), 3: (100, 0)}


def test_after_a_refusal_the_session_goes_on_with_what_is_stored(engine, session):
    """Once it was rolled back, as after any failed flush."""
    raised(engine, 1, 6)
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    with pytest.raises(StaleFence):
        fenced(session, wallet, lease_of(5))
    session.rollback()
    assert (wallet.balance, wallet.fence) == (7, 6)
    wallet.balance = 8
    fenced(session, wallet, lease_of(7))
    session.commit()
    assert stored(engine)[1] == (8, 7)


def test_what_was_flushed_before_does_not_outlive_the_refusal(engine, session):
    """A query in between has written the changes already, without a guard."""
    raised(engine, 1, 6)
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    session.get(Wallet, 2)
    session.flush()
    with pytest.raises(StaleFence):
        fenced(session, wallet, lease_of(5))
    session.rollback()
    session.commit()
    assert stored(engine)[1] == (7, 6)


def test_a_savepoint_keeps_the_rest_of_the_transaction(engine, session):
    """Only what was inside it is undone."""
    raised(engine, 1, 6)
    session.get(Wallet, 2).balance = 1
    session.flush()
    with pytest.raises(StaleFence), session.begin_nested():
        _write_inside(session)
    session.commit()
    assert stored(engine) == {1: (7, 6), 2: (1, 0), 3: (100, 0)}


def _write_inside(session):
    session.get(Wallet, 3).balance = 1
    session.get(Wallet, 1).balance = 50
    fenced(session, session.get(Wallet, 1), lease_of(5))


@pytest.mark.parametrize("stale", [1, 2, 3])
def test_of_several_objects_none_is_written_when_one_is_stale(engine, session, stale):
    """Whichever it is."""
    before = stored(engine)
    raised(engine, stale, 6)
    wallets = [session.get(Wallet, number) for number in (1, 2, 3)]
    for wallet in wallets:
        wallet.balance = 50
    with pytest.raises(StaleFence, match=f"row id={stale} of wallets"):
        fenced(session, wallets, lease_of(5))
    session.rollback()
    assert stored(engine) == before | {stale: (7, 6)}


@pytest.mark.parametrize("change", [True, False], ids=["changed", "unchanged"])
def test_a_row_that_is_gone_is_not_stale(engine, change):
    """SQLAlchemy's own error says that there is no such row."""
    with Session(engine, expire_on_commit=False) as session:
        wallet = session.get(Wallet, 1)
        session.commit()
        with engine.begin() as connection:
            connection.execute(WALLETS.delete().where(WALLETS.c.id == 1))
        wallet.balance = 50 if change else wallet.balance
        with pytest.raises(StaleDataError):
            fenced(session, wallet, lease_of(5))


def test_without_a_lease_nothing_is_written(engine, session):
    """Nor under one that is over."""
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    with pytest.raises(LockError, match="nothing to write under"):
        fenced(session, wallet)
    lost = lease_of(5)
    lost.lose("it is a test")
    with pytest.raises(LockLost):
        fenced(session, wallet, lost)
    assert stored(engine)[1] == (100, 0)


def test_autocommit_takes_one_object_and_no_more(engine):
    """One statement needs no transaction; of several some would stay written, and a claim would be over at once."""
    with Session(engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        wallets = [session.get(Wallet, number) for number in (1, 2)]
        with pytest.raises(InvalidRequestError, match="AUTOCOMMIT"):
            claim(session, Wallet, 1, lease_of(5))
        wallets[0].balance = 50
        fenced(session, wallets[0], lease_of(5))
        wallets[0].balance = wallets[1].balance = 40
        with pytest.raises(InvalidRequestError, match="AUTOCOMMIT"):
            fenced(session, wallets[0], lease_of(5))
    assert stored(engine) == {1: (50, 5), 2: (100, 0), 3: (100, 0)}


def _not_ours(_):
    return lease_of(5, "another"), LockNotOwned


def _over(_):
    lease = lease_of(5)
    lease.lose("it is a test")
    return lease, LockLost


def _stale(engine):
    raised(engine, 1, 6)
    return lease_of(5), StaleFence


@pytest.mark.parametrize("refused", [_over, _not_ours, _stale])
def test_what_was_refused_is_not_written_by_a_later_commit(engine, session, monkeypatch, refused):
    """Whoever catches the error and goes on has no change left that a plain flush would write."""
    monkeypatch.setattr(Wallet, "__fence_key__", "wallet")
    wallet = session.get(Wallet, 1)
    session.commit()
    lease, error = refused(engine)
    before = stored(engine)
    wallet.balance = 50
    with pytest.raises(error):
        fenced(session, wallet, lease)
    with contextlib.suppress(PendingRollbackError):
        session.commit()
    session.rollback()
    assert stored(engine) == before


@pytest.mark.parametrize("refused", [_over, _stale])
@pytest.mark.parametrize("way", ["change", "delete", "claim"])
def test_what_a_savepoint_has_flushed_before_it_began_is_undone_too(engine, session, way, refused):
    """`begin_nested()` writes what was changed before it: unguarded, and outside of itself."""
    lease, error = refused(engine)
    before = stored(engine)
    wallet = session.get(Wallet, 1)
    if way == "delete":
        session.delete(wallet)
    else:
        wallet.balance = 50
    # A row that this very transaction has deleted is gone for the guard as well.
    with pytest.raises((error, StaleDataError)), session.begin_nested():
        claim(session, Wallet, 1, lease) if way == "claim" else fenced(session, wallet, lease)
    session.commit()
    assert stored(engine) == before
