"""The guard for SQLAlchemy: what a statement has of its own, and one that is written more than once.

A flush has one statement for all objects of a table, whose guarded copy is kept.
"""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Update, bindparam, event, inspect, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from celery_locks import StaleFence
from celery_locks.fencing.sqlalchemy import fenced
from celery_locks.fencing.sqlalchemy.columns import of_mapper
from tests.fencing.leases import lease_of
from tests.fencing.wallets import WALLETS, Wallet, raised, stored

ROWS = WALLETS.c


def emptied(*where):
    return update(WALLETS).where(*where).values(balance=0)


@pytest.mark.parametrize("fence", [{"fence": 0}, {ROWS.fence: 9}], ids=["by name", "by column"])
def test_a_statement_does_not_set_the_fence_by_itself(engine, writer, fence):
    """A lower one would let a ghost in."""
    raised(engine, 1, 4)
    statement = update(WALLETS).where(ROWS.id == 1)
    with pytest.raises(InvalidRequestError, match=r"fence of wallets is the guard's.* leave it out of values"):
        fenced(writer, statement.values(balance=0).values(fence), lease_of(5))
    writer.commit()
    assert stored(engine)[1] == (7, 4)


@pytest.mark.parametrize(
    "statement",
    [
        emptied(bindparam("fence", 1) == ROWS.id),
        update(WALLETS).where(ROWS.id == 1).values(balance=bindparam("fence", 0)),
        emptied(ROWS.id == 1, ROWS.balance > bindparam("fence", 3)),
    ],
    ids=["key", "value", "condition"],
)
def test_a_statement_may_have_a_parameter_of_any_name(engine, writer, statement):
    """Also that of the column."""
    assert fenced(writer, statement, lease_of(5)).rowcount == 1
    writer.commit()
    assert stored(engine)[1] == (0, 5)


def test_a_statement_is_as_it_was_after_it_was_written(engine, writer):
    """It may be written again, under another lease, and without a guard."""
    statement = update(WALLETS).where(ROWS.id == 1).values(balance=ROWS.balance - 30)
    said = str(statement)
    for fence in (5, 6):
        fenced(writer, statement, lease_of(fence))
    with pytest.raises(StaleFence):
        fenced(writer, statement, lease_of(5))
    assert str(statement) == said
    fenced(writer, statement, lease_of(7))
    writer.execute(statement)
    writer.commit()
    assert stored(engine)[1] == (40, 7)


@pytest.mark.parametrize("wallets_url", ["postgres", "sqlite"], indirect=True)
def test_a_statement_may_return_what_it_wrote(writer):
    """The new fence with it; of several rows that one with a higher fence is among, nothing."""
    statement = update(WALLETS).values(balance=ROWS.balance + ROWS.id).returning(ROWS.balance, ROWS.fence)
    assert fenced(writer, statement.where(ROWS.id == 1), lease_of(6)).all() == [(101, 6)]
    assert sorted(fenced(writer, statement.where(ROWS.id > 1), lease_of(5)).all()) == [(102, 5), (103, 5)]
    with pytest.raises(StaleFence):
        fenced(writer, statement, lease_of(5))


@pytest.mark.parametrize("wallets_url", ["postgres"], indirect=True)
def test_threads_that_write_one_statement_have_their_own_fences(engine):
    """Each comes to its write while the other does."""
    statement = update(WALLETS).values(balance=0)
    both = threading.Barrier(2, timeout=30)

    def write(number):
        with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection, connection.begin():
            event.listen(connection, "before_execute", lambda *_: both.wait(), once=True)
            fenced(connection, statement.where(ROWS.id == number), lease_of(4 + number))

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(write, number) for number in (1, 2)]:
            each.result(30)
    assert stored(engine) == {1: (0, 5), 2: (0, 6), 3: (100, 0)}


def test_objects_are_written_by_the_same_statement(engine):
    """From one session to the next: what SQLAlchemy knows of it, it need not find out for each write."""
    sent = []

    def note(*about):
        sent.append(about[1])

    event.listen(engine, "after_execute", note)
    for number in (1, 2):
        with Session(engine) as session, session.begin():
            session.get(Wallet, number).balance = 50
            fenced(session, session.get(Wallet, number), lease_of(5))
    event.remove(engine, "after_execute", note)
    first, second = [each for each in sent if isinstance(each, Update)]
    assert first is second
    assert stored(engine) == {1: (50, 5), 2: (50, 5), 3: (100, 0)}


@pytest.mark.parametrize("wallets_url", ["postgres"], indirect=True)
def test_threads_that_write_objects_have_their_own_fences(engine):
    """Though their statement is the same, and each comes to its write while the other does: one is stale."""
    raised(engine, 1, 6)
    raised(engine, 2, 8)
    both = threading.Barrier(2, timeout=30)

    def write(number, fence):
        with Session(engine) as session, session.begin():
            wallet = session.get(Wallet, number)
            wallet.balance = 0
            event.listen(session.connection(), "before_execute", lambda *_: both.wait(), once=True)
            fenced(session, wallet, lease_of(fence))

    with ThreadPoolExecutor(2) as pool:
        stale, current = pool.submit(write, 1, 5), pool.submit(write, 2, 9)
        assert isinstance(stale.exception(30), StaleFence)
        current.result(30)
    assert stored(engine) == {1: (7, 6), 2: (0, 9), 3: (100, 0)}


def test_no_statement_is_kept_that_was_for_one_flush(session):
    """One with an expression among its values is made for that alone."""
    wallet = session.get(Wallet, 1)
    for fence in range(5, 25):
        wallet.balance = Wallet.balance - 1
        fenced(session, wallet, lease_of(fence))
    gc.collect()
    assert len(of_mapper(inspect(Wallet))._guarded) <= 2
    assert wallet.balance == 80
