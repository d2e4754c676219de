"""The guard for SQLAlchemy: two transactions at once, and connections that end."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from celery_locks import StaleFence
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import WALLETS, Wallet, stored
from tests.servers.databases import WAITING_FOR_ROWS
from tests.waiting import wait_until

ROWS = WALLETS.c
_ENDING = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}
_OWN = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}


def changes(session, fence):
    wallet = session.get(Wallet, 1)
    wallet.balance = 10 * fence
    fenced(session, wallet, lease_of(fence))


def changes_all(session, fence):
    wallets = [session.get(Wallet, number) for number in (3, 1)]
    for wallet in wallets:
        wallet.balance = 10 * fence
    fenced(session, wallets, lease_of(fence))


def states(session, fence):
    fenced(session, update(WALLETS).where(ROWS.id == 1).values(balance=10 * fence), lease_of(fence))


def states_all(session, fence):
    fenced(session, update(Wallet).where(Wallet.balance > 0).values(balance=10 * fence), lease_of(fence))


def claims(session, fence):
    claim(session, Wallet, 1, lease_of(fence)).balance = 10 * fence


WAYS = pytest.mark.parametrize("way", [changes, changes_all, states, states_all, claims], ids=lambda way: way.__name__)
#: SQLite has one writer at a time.
pytestmark = pytest.mark.parametrize("wallets_url", ["postgres", "mariadb"], indirect=True)
LEVELS = pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])


def waits(engine):
    return int(asked(engine, WAITING_FOR_ROWS[engine.dialect.name])[-1])


def asked(engine, question):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        result = connection.execute(text(question))
        return result.fetchone() if result.returns_rows else None


@contextlib.contextmanager
def beside(ours, level, way, fence):
    """The way is gone by another transaction, in a thread of its own, until it must wait for ours."""
    engine = ours.get_bind()

    def go():
        with Session(engine.execution_options(isolation_level=level)) as session:
            way(session, fence)
            session.commit()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(go)
        try:
            wait_until(lambda: waits(engine) or done.done(), "the other to wait for a row")
            assert not done.done(), done.exception()
            yield done
        except BaseException:
            # Or the pool would wait for one that waits for us.
            ours.rollback()
            raise


@WAYS
@LEVELS
def test_a_stale_writer_that_waited_for_the_newer_is_refused(engine, level, way):
    """It waits for the row, and then sees whose it is. A level that forbids it to see it has the database refuse."""
    with Session(engine) as newer:
        states(newer, 6)
        with beside(newer, level, way, 5) as done:
            newer.commit()
            error = done.exception(timeout=30)
    assert isinstance(error, StaleFence if level == "READ COMMITTED" else (StaleFence, DBAPIError))
    assert stored(engine) == {1: (60, 6), 2: (100, 0), 3: (100, 0)}


@WAYS
@LEVELS
def test_what_the_newer_undoes_refuses_nobody(engine, level, way):
    """Then the older one was never overtaken."""
    with Session(engine) as newer:
        states(newer, 6)
        with beside(newer, level, way, 5) as done:
            newer.rollback()
            done.result(timeout=30)
    assert stored(engine)[1] == (50, 5)


@WAYS
@LEVELS
def test_the_newer_writes_over_the_older(engine, level, way):
    """It waits for the older one's transaction, and is never refused."""
    with Session(engine) as older:
        states(older, 5)
        with beside(older, level, way, 6) as done:
            older.commit()
            error = done.exception(timeout=30)
    if error is None:
        assert stored(engine)[1] == (60, 6)
    else:
        # Two transactions at this level may not write one row: the database says which is to be repeated.
        assert (level, isinstance(error, DBAPIError)) == ("REPEATABLE READ", True)
        assert stored(engine)[1] == (50, 5)


@LEVELS
def test_a_claim_reads_what_was_written_after_its_transaction_began(engine, level):
    """Not the snapshot that an earlier read of the transaction has taken; or the database refuses."""
    with Session(engine.execution_options(isolation_level=level)) as session:
        assert session.get(Wallet, 1).balance == 100
        with Session(engine) as other:
            states(other, 4)
            other.commit()
        try:
            assert claim(session, Wallet, 1, lease_of(5)).balance == 40
        except DBAPIError:
            assert level == "REPEATABLE READ"


@LEVELS
def test_a_claim_that_raises_nothing_reads_what_is_stored_too(engine, level):
    """The same fence again changes no row, and a snapshot would go on showing what was before."""
    with Session(engine.execution_options(isolation_level=level)) as session:
        assert session.get(Wallet, 1).balance == 100
        with Session(engine) as other:
            states(other, 5)
            other.commit()
        try:
            assert claim(session, Wallet, 1, lease_of(5)).balance == 50
        except DBAPIError:
            assert level == "REPEATABLE READ"


def test_after_a_claim_nobody_comes_in_between(engine):
    """What a stale holder writes is refused as soon as the next one has read, and not only when that has written."""
    with Session(engine) as newer:
        balance = claim(newer, Wallet, 1, lease_of(6)).balance
        with beside(newer, "READ COMMITTED", states, 5) as done:
            newer.get(Wallet, 1).balance = balance - 30
            fenced(newer, newer.get(Wallet, 1), lease_of(6))
            newer.commit()
            assert isinstance(done.exception(timeout=30), StaleFence)
    assert stored(engine)[1] == (70, 6)


@WAYS
def test_what_was_not_committed_is_not_written(engine, way):
    """The connection is lost between the write and its commit."""
    with Session(engine) as session:
        way(session, 5)
        session.flush()
        number = session.scalar(text(_OWN[engine.dialect.name]))
        asked(engine, _ENDING[engine.dialect.name].format(number))
        with pytest.raises(DBAPIError):
            session.commit()
    assert stored(engine) == {1: (100, 0), 2: (100, 0), 3: (100, 0)}
