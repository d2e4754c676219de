"""The guard for SQLAlchemy: objects of a session, on each database."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from celery_locks import Locks, StaleFence
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import Wallet, raised, stored


@pytest.mark.parametrize("before", [0, 4, 5])
def test_a_row_is_written_with_its_fence(engine, session, statements, before):
    """Where there is none, a lower one or the same: changes and fence in one statement."""
    raised(engine, 1, before)
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    statements.clear()
    fenced(session, wallet, lease_of(5))
    assert statements == ["UPDATE"]
    session.commit()
    assert stored(engine)[1] == (50, 5)


def test_what_was_written_is_no_change_any_more(session, statements):
    """A later flush does not write it again, and the object knows its fence."""
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    fenced(session, wallet, lease_of(5))
    statements.clear()
    assert (wallet.fence, wallet in session.dirty) == (5, False)
    session.commit()
    assert statements == []


def test_the_same_holder_writes_again(engine, session):
    """Also when it changes nothing but what it changed before."""
    wallet = session.get(Wallet, 1)
    for balance in (50, 40, 40):
        wallet.balance = balance
        fenced(session, wallet, lease_of(5))
    session.commit()
    assert stored(engine)[1] == (40, 5)


def test_what_was_flushed_before_stands_with_the_fence(engine, session):
    """When nobody else has written."""
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    session.flush()
    fenced(session, wallet, lease_of(5))
    session.commit()
    assert stored(engine)[1] == (50, 5)


def test_other_work_of_the_transaction_is_written_with_it(engine, session):
    """The flush is that of the whole session; only the object that was handed over is guarded."""
    raised(engine, 2, 9)
    with session.begin():
        session.get(Wallet, 2).balance = 1
        session.get(Wallet, 1).balance = 50
        fenced(session, session.get(Wallet, 1), lease_of(5))
        session.add(Wallet(id=4))
    assert stored(engine) == {1: (50, 5), 2: (1, 9), 3: (100, 0), 4: (0, 0)}


def test_several_objects_are_written_together(engine, session):
    """Changed, new, unchanged and deleted ones."""
    changed, deleted, unchanged = (session.get(Wallet, number) for number in (1, 2, 3))
    new = Wallet(id=4, balance=9)
    session.add(new)
    session.delete(deleted)
    changed.balance = 50
    fenced(session, [changed, deleted, unchanged, new], lease_of(5))
    session.commit()
    assert stored(engine) == {1: (50, 5), 3: (100, 5), 4: (9, 5)}


def test_a_new_object_gets_the_fence(engine, session):
    """There is nothing to compare it with."""
    wallet = Wallet(id=4)
    session.add(wallet)
    fenced(session, wallet, lease_of(5))
    session.commit()
    assert stored(engine)[4] == (0, 5)


@pytest.mark.parametrize(("stored_fence", "left"), [(5, {2, 3}), (6, {1, 2, 3})])
def test_a_deletion_is_guarded(engine, session, stored_fence, left):
    """It is done for the holder of the row, and refused to one before."""
    raised(engine, 1, stored_fence)
    wallet = session.get(Wallet, 1)
    session.delete(wallet)
    if stored_fence == 6:
        with pytest.raises(StaleFence):
            fenced(session, wallet, lease_of(5))
    else:
        fenced(session, wallet, lease_of(5))
        session.commit()
    session.rollback()
    assert set(stored(engine)) == left


def test_the_running_job_s_lease_is_the_default(engine):
    """One line of the job changes."""

    def job():
        with Session(engine) as session:
            claim(session, Wallet, 1).balance -= 30
            fenced(session, session.get(Wallet, 1))
            session.commit()

    Locks("memory://").run("wallet:1", job)
    assert stored(engine)[1][0] == 70
    assert stored(engine)[1][1] > 0


def test_a_scoped_session_is_a_session(engine):
    """As web frameworks have it."""
    session = scoped_session(sessionmaker(engine))
    session.get(Wallet, 1).balance = 50
    fenced(session, session.get(Wallet, 1), lease_of(5))
    session.commit()
    claim(session, Wallet, 1, lease_of(6))
    session.commit()
    session.remove()
    assert stored(engine)[1] == (50, 6)


def test_an_engine_with_options_and_the_one_behind_it_may_both_be_used(engine):
    """What the one is told the other hears too, and is to count once."""
    for fence, each in enumerate((engine, engine.execution_options(logging_token="again"), engine), start=5):
        with Session(each) as session:
            session.get(Wallet, 1).balance = fence
            fenced(session, session.get(Wallet, 1), lease_of(fence))
            wallet = session.get(Wallet, 1)
            wallet.balance = 10 * fence
            fenced(session, wallet, lease_of(fence))
            session.commit()
    assert stored(engine)[1] == (70, 7)
