"""The guard for SQLAlchemy: what a statement has of its own, and one that is written more than once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import InvalidRequestError

from celery_locks import StaleFence
from celery_locks.fencing.sqlalchemy import fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import WALLETS, connected, raised, stored

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


@pytest.mark.parametrize("wallets_url", ["postgres"], indirect=True)
def test_threads_that_write_one_statement_have_their_own_fences(wallets_url, engine):
    """Each with its own lease; it is compiled once for all of them."""
    statement = emptied(ROWS.id == bindparam("which", 1))
    with connected(wallets_url, max_overflow=-1) as other:

        def write(fence):
            with other.begin() as connection:
                fenced(connection, statement, lease_of(fence))
                return connection.scalar(select(ROWS.fence).where(ROWS.id == 1))

        with ThreadPoolExecutor(4) as pool:
            fences = [pool.submit(write, fence) for fence in range(1, 21)]
    written = [(fence, future) for fence, future in enumerate(fences, 1) if not future.exception()]
    assert [future.result() for _, future in written] == [fence for fence, _ in written]
    assert {type(future.exception()) for future in fences} <= {type(None), StaleFence}
    assert stored(engine)[1] == (0, 20)
