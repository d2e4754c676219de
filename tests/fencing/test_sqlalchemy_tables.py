"""The guard for SQLAlchemy: tables of every kind, and what is no guarded write to one."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, delete, insert, select
from sqlalchemy import update as update_
from sqlalchemy.exc import ArgumentError, InvalidRequestError

from celery_locks import LockNotOwned, StaleFence
from celery_locks.fencing.sqlalchemy import fence_column, fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import WALLETS, spelt


@pytest.fixture
def plain():
    """An SQLite in memory."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def table_of(connection, *columns):
    table = Table("accounts", MetaData(), Column("id", Integer, primary_key=True), Column("user_id", Integer), *columns)
    table.create(connection)
    connection.execute(insert(table), [{"id": 1, "user_id": 7}, {"id": 2, "user_id": 8}])
    connection.commit()
    return table


def test_a_table_without_a_fence_is_refused(plain):
    """With what to do."""
    table = table_of(plain)
    with pytest.raises(ArgumentError, match="accounts has no fence: give the table fence_column"):
        fenced(plain, update_(table).values(user_id=1), lease_of(5))


def test_the_column_may_have_another_name(plain):
    """It is known by a mark, not by its name."""
    table = table_of(plain, fence_column("written_by"))
    fenced(plain, update_(table).where(table.c.id == 1).values(user_id=1), lease_of(5))
    assert plain.scalar(select(table.c.written_by).where(table.c.id == 1)) == 5


def test_a_fence_that_is_null_is_none(plain):
    """As in a table that the column was added to without a default."""
    column = fence_column()
    column.nullable = True
    table = table_of(plain, column)
    plain.execute(update_(table).values(fence=None))
    assert fenced(plain, update_(table).values(user_id=1), lease_of(5)).rowcount == 2
    with pytest.raises(StaleFence):
        fenced(plain, update_(table).values(user_id=1), lease_of(4))


@pytest.mark.parametrize("statement", [insert(WALLETS), select(WALLETS)], ids=["insert", "select"])
def test_other_statements_are_refused(plain, statement):
    """A new row has no fence to compare with."""
    with pytest.raises(TypeError, match="statements that update or delete"):
        fenced(plain, statement, lease_of(5))


def test_a_table_may_say_which_key_protects_a_row(plain):
    """A lease of another key is refused, and so is a statement that does not say which row."""
    table = table_of(plain, fence_column(key="user:{user_id}"))
    fenced(plain, update_(table).where(table.c.user_id == 7).values(id=3), lease_of(5, "user:7"))
    with pytest.raises(LockNotOwned, match=r"'user:8'.*'user:7'"):
        fenced(plain, delete(table).where(table.c.user_id == 8), lease_of(5, "user:7"))
    with pytest.raises(InvalidRequestError, match=r"add user_id == \.\.\. to its where"):
        fenced(plain, delete(table), lease_of(5, "user:7"))


def test_an_engine_writes_nothing():
    """What is written belongs to a transaction."""
    with pytest.raises(TypeError, match="neither a Session nor a Connection"):
        fenced(create_engine(spelt("sqlite://")), delete(WALLETS), lease_of(5))
