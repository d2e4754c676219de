"""The guard for SQLAlchemy: UPDATE and DELETE statements, by a session and by a connection."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, delete, func, select
from sqlalchemy import update as update_
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, aliased

from celery_locks import LockLost, StaleFence
from celery_locks.fencing.sqlalchemy import fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import WALLETS, Wallet, connected, raised, stored
from tests.servers.mysql import READS_WHAT_IT_WRITES

ROWS = WALLETS.c


def emptied(*where):
    return update_(WALLETS).where(*where).values(balance=0)


def test_one_row_is_one_statement(engine, writer, statements):
    """The key is given, and one row was written: nothing is left to ask."""
    assert fenced(writer, emptied(ROWS.id == 1), lease_of(5)).rowcount == 1
    assert statements == ["UPDATE"]
    writer.commit()
    assert stored(engine)[1] == (0, 5)


def test_the_same_holder_may_write_the_same_again(engine, writer):
    """MySQL would count no row that has not changed; SQLAlchemy has it count those that were found."""
    for _ in range(2):
        assert fenced(writer, emptied(ROWS.id == 1), lease_of(5)).rowcount == 1
    writer.commit()
    assert stored(engine)[1] == (0, 5)


def test_a_stale_statement_is_refused(engine, writer):
    """And what else its transaction did is undone."""
    raised(engine, 1, 6)
    writer.execute(emptied(ROWS.id == 2))
    with pytest.raises(StaleFence, match=r"row id=1 of wallets.*fence 6 has been there"):
        fenced(writer, emptied(ROWS.id == 1), lease_of(5))
    writer.commit()
    assert stored(engine) == {1: (7, 6), 2: (100, 0), 3: (100, 0)}


def test_a_statement_under_a_lease_that_is_over_undoes_the_same(engine, writer):
    """What the job did before is as late as what is refused."""
    lease = lease_of(5)
    lease.lose("it is a test")
    writer.execute(emptied(ROWS.id == 2))
    with pytest.raises(LockLost):
        fenced(writer, emptied(ROWS.id == 1), lease)
    writer.commit()
    assert stored(engine) == dict.fromkeys((1, 2, 3), (100, 0))


@pytest.mark.parametrize(
    "where",
    [
        ROWS.balance > 1,
        ROWS.id.in_([1, 2, 3]),
        (ROWS.id == 1) | (ROWS.id == 2),
        ROWS.id.in_(select(aliased(Wallet).id)),
        ROWS.id <= select(func.count()).select_from(Wallet).scalar_subquery(),
    ],
    ids=["values", "keys", "either", "subquery", "number"],
)
def test_of_several_rows_none_is_written_when_one_is_stale(engine, writer, where):
    """However the statement says which."""
    raised(engine, 2, 6)
    before = stored(engine)
    with pytest.raises(StaleFence, match=r"row id=2 of wallets"):
        fenced(writer, emptied(where), lease_of(5))
    writer.commit()
    assert stored(engine) == before


@pytest.mark.parametrize("kind", ["update", "delete"])
def test_several_rows_are_written_when_none_is_stale(engine, writer, kind):
    """A row that the statement does not match may have any fence."""
    raised(engine, 3, 6)
    where = ROWS.id.in_([1, 2])
    statement = emptied(where) if kind == "update" else delete(WALLETS).where(where)
    assert fenced(writer, statement, lease_of(5)).rowcount == 2
    writer.commit()
    assert stored(engine) == ({1: (0, 5), 2: (0, 5)} if kind == "update" else {}) | {3: (7, 6)}


def test_all_rows_of_a_table_may_be_written(writer):
    """A statement without a where."""
    assert fenced(writer, update_(WALLETS).values(balance=0), lease_of(5)).rowcount == 3
    with pytest.raises(StaleFence):
        fenced(writer, delete(WALLETS), lease_of(4))


def test_what_the_write_itself_changes_is_matched_as_before_it(engine, writer):
    """Rows are compared with the mean, and the write changes that: they are found first."""
    raised(engine, 1, 6)
    mean = select(func.avg(aliased(Wallet).balance)).scalar_subquery()
    with pytest.raises(StaleFence):
        fenced(writer, update_(WALLETS).where(ROWS.id < 3, ROWS.balance > mean - 65).values(balance=900), lease_of(5))
    writer.commit()
    assert stored(engine) == {1: (7, 6), 2: (100, 0), 3: (100, 0)}


def test_no_row_is_no_error(writer):
    """The result says how many there were, as it does without a guard."""
    assert fenced(writer, emptied(ROWS.id == 9), lease_of(5)).rowcount == 0


@READS_WHAT_IT_WRITES
def test_no_row_of_a_subquery_is_no_error(writer):
    """As one that names its key."""
    assert fenced(writer, emptied(ROWS.id.in_(select(ROWS.id).where(ROWS.id > 9))), lease_of(5)).rowcount == 0


def test_a_savepoint_keeps_the_rest(engine, writer):
    """Only what was inside it is undone."""
    raised(engine, 1, 6)
    writer.execute(emptied(ROWS.id == 2))
    with pytest.raises(StaleFence), writer.begin_nested():
        _write_inside(writer)
    writer.commit()
    assert stored(engine) == {1: (7, 6), 2: (0, 0), 3: (100, 0)}


def _write_inside(writer):
    writer.execute(emptied(ROWS.id == 3))
    fenced(writer, emptied(ROWS.id == 1), lease_of(5))


def test_a_transaction_that_was_undone_cannot_be_gone_on_with(engine):
    """Inside its `with`, SQLAlchemy says so."""
    raised(engine, 1, 6)
    with engine.begin() as connection:
        with pytest.raises(StaleFence):
            fenced(connection, emptied(ROWS.id == 1), lease_of(5))
        with pytest.raises(InvalidRequestError):
            connection.execute(emptied(ROWS.id == 2))
    assert stored(engine)[2] == (100, 0)


def test_a_statement_about_a_class_writes_the_objects_of_the_session_too(engine):
    """As SQLAlchemy's own, with their new fence."""
    with Session(engine) as session:
        wallet = session.get(Wallet, 1)
        fenced(session, update_(Wallet).where(Wallet.id == 1).values(balance=Wallet.balance - 30), lease_of(5))
        assert (wallet.balance, wallet.fence) == (70, 5)
        session.commit()
    assert stored(engine)[1] == (70, 5)


def test_a_refused_statement_leaves_no_trace_in_the_objects_of_the_session(engine):
    """They are read again."""
    raised(engine, 2, 6)
    with Session(engine) as session:
        wallet = session.get(Wallet, 1)
        with pytest.raises(StaleFence):
            fenced(session, update_(Wallet).values(balance=0), lease_of(5))
        assert (wallet.balance, wallet.fence) == (100, 0)


def test_autocommit_takes_one_row_and_no_more(engine):
    """One statement needs no transaction; of several rows some would stay written."""
    raised(engine, 1, 6)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with pytest.raises(StaleFence):
            fenced(connection, emptied(ROWS.id == 1), lease_of(5))
        fenced(connection, emptied(ROWS.id == 2), lease_of(5))
        with pytest.raises(InvalidRequestError, match="AUTOCOMMIT"):
            fenced(connection, emptied(ROWS.balance > 0), lease_of(5))
    assert stored(engine) == {1: (7, 6), 2: (0, 5), 3: (100, 0)}


def test_autocommit_of_an_engine_is_known_too(wallets_url, engine):
    """It need not be said for each connection."""
    with connected(wallets_url, isolation_level="AUTOCOMMIT") as other, other.connect() as connection:
        with pytest.raises(InvalidRequestError, match="AUTOCOMMIT"):
            fenced(connection, emptied(ROWS.balance > 0), lease_of(5))
        fenced(connection, emptied(ROWS.id == 2), lease_of(5))
    assert stored(engine)[2] == (0, 5)


def test_a_statement_may_have_its_values_in_any_order(engine, writer):
    """Bound ones, ones that are computed."""
    statement = update_(WALLETS).where(bindparam("which", 1) == ROWS.id).values({ROWS.balance: ROWS.balance + 1})
    fenced(writer, statement, lease_of(5))
    writer.commit()
    assert stored(engine)[1] == (101, 5)
