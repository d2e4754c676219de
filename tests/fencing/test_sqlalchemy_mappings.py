"""The guard for SQLAlchemy: however a class is mapped, its rows are written right or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import BigInteger, create_engine, inspect, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from celery_locks import StaleFence
from celery_locks.fencing.sqlalchemy import FencedDataclass, claim, fenced
from tests.fencing.leases import lease_of
from tests.fencing.ledger import Account, Box, Entry, Page, Savings, Seat, opened


@pytest.fixture
def engine():
    with opened() as engine:
        yield engine


def overtaken(session, kind, fence=9):
    """Another holder has written all rows."""
    session.execute(update(kind.__table__).values(fence=fence))
    session.commit()


OWNERS = "owner:1"


def test_an_object_spread_over_joined_tables_is_written(session):
    """Also when only the table without the fence has changes."""
    savings = session.get(Savings, 2)
    savings.rate = 4
    fenced(session, savings, lease_of(5, OWNERS))
    session.commit()
    assert (savings.rate, savings.fence) == (4, 5)


@pytest.mark.parametrize("way", ["change", "delete", "claim", "through its base"])
def test_an_object_spread_over_joined_tables_is_refused(session, way):
    """With all of its tables as they were."""
    overtaken(session, Account)
    savings = session.get(Savings, 2)
    if way == "delete":
        session.delete(savings)
    elif way == "change":
        savings.rate = 4
    with pytest.raises(StaleFence, match="row id=2 of accounts"):
        _go(way, session, savings)
    session.rollback()
    assert (session.get(Savings, 2).rate, session.get(Savings, 2).fence) == (3, 9)


def _go(way, session, savings):
    if way == "through its base":
        claim(session, Account, 2, lease_of(5, OWNERS))
    elif way == "claim":
        claim(session, Savings, 2, lease_of(5, OWNERS))
    else:
        fenced(session, savings, lease_of(5, OWNERS))


def test_a_deletion_takes_all_of_an_object(session):
    """And what depends on it."""
    savings = session.get(Savings, 2)
    savings.entries.append(Entry(id=1))
    session.flush()
    session.delete(savings)
    fenced(session, savings, lease_of(5, OWNERS))
    session.commit()
    assert (session.get(Account, 2), session.get(Entry, 1)) == (None, None)


def test_a_version_still_counts(session):
    """Its own error comes where the version is not the one that was read, and the fence is not in the way."""
    account = session.get(Account, 1)
    account.balance = 5
    fenced(session, account, lease_of(5, OWNERS))
    session.commit()
    assert account.version == 2
    session.connection().execute(update(Account.__table__).values(version=7))
    account.balance = 6
    with pytest.raises(StaleDataError):
        fenced(session, account, lease_of(5, OWNERS))


def test_what_the_database_fills_in_is_read_again(session):
    """As after any flush: an expression, what is set with each update, what is put off."""
    account = session.get(Account, 1)
    account.balance = Account.balance + 5
    account.text = "longer"
    fenced(session, account, lease_of(5, OWNERS))
    assert (account.balance, account.double, account.changed, account.text) == (5, 10, 77, "longer")
    assert not inspect(account).modified


def test_what_is_read_with_the_update_is_right_too(session):
    """eager_defaults: an UPDATE with RETURNING."""
    savings = session.get(Savings, 2)
    savings.balance = 5
    fenced(session, savings, lease_of(5, OWNERS))
    assert (savings.balance, savings.changed) == (5, 77)
    overtaken(session, Account)
    savings.balance = 6
    with pytest.raises(StaleFence):
        fenced(session, savings, lease_of(5, OWNERS))


def test_an_expired_object_is_written(session):
    """One of which nothing is loaded."""
    account = session.get(Account, 1)
    session.expire(account)
    account.balance = 5
    fenced(session, account, lease_of(5, OWNERS))
    session.commit()
    assert (account.balance, account.fence) == (5, 5)


def test_what_hangs_on_an_object_is_written_with_it(session):
    """And not written when it is refused."""
    account = session.get(Account, 1)
    account.entries.append(Entry(id=1))
    fenced(session, account, lease_of(5, OWNERS))
    session.commit()
    assert (account.fence, len(account.entries)) == (5, 1)
    account.entries.append(Entry(id=2))
    with pytest.raises(StaleFence):
        fenced(session, account, lease_of(4, OWNERS))
    session.rollback()
    assert [entry.id for entry in account.entries] == [1]


def test_a_foreign_key_that_comes_with_the_flush_is_written(session):
    """It is set from a relationship."""
    entry = Entry(id=1, account=session.get(Account, 1))
    session.add_all([Page(id=1), entry])
    session.commit()
    page = session.get(Page, 1)
    page.entry = entry
    fenced(session, page, lease_of(5))
    assert not inspect(page).modified
    session.commit()
    assert (page.entry_id, page.fence) == (1, 5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_key_of_several_columns_is_known(session, count):
    """One row, or several."""
    seats = session.scalars(select(Seat).order_by(Seat.row, Seat.place)).all()[:count]
    fenced(session, seats, lease_of(5))
    for number, seat in enumerate(seats):
        seat.taken = f"guest {number}"
    fenced(session, seats, lease_of(6))
    session.commit()
    assert {seat.fence for seat in seats} == {6}
    assert claim(session, Seat, (1, 1), lease_of(7)).fence == 7
    with pytest.raises(StaleFence, match="row row=1, place=1 of seats"):
        claim(session, Seat, (1, 1), lease_of(6))


def test_a_statement_about_one_of_several_classes_in_a_table_minds_its_own(session):
    """Rows of the others may have any fence."""
    session.execute(update(Seat).where(Seat.row == 1, Seat.place == 1).values(fence=9))
    session.commit()
    assert fenced(session, update(Box).values(taken="anna"), lease_of(5)).rowcount == 1
    with pytest.raises(StaleFence):
        fenced(session, update(Seat).values(taken=None), lease_of(5))


def test_a_dataclass_has_a_fence_that_is_no_argument():
    """Its other fields keep their places."""

    class Data(MappedAsDataclass, DeclarativeBase):
        pass

    class Card(FencedDataclass, Data):
        __tablename__ = "cards"

        number: Mapped[int] = mapped_column(primary_key=True)

    engine = create_engine("sqlite://")
    Data.metadata.create_all(engine)
    assert isinstance(Card.__table__.c.fence.type, BigInteger)
    with Session(engine) as session:
        card = Card(7)
        session.add(card)
        session.commit()
        fenced(session, card, lease_of(2**63 - 1))
        session.commit()
        assert card.fence == 2**63 - 1
    engine.dispose()
