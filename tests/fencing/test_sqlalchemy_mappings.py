"""The guard for SQLAlchemy: however a class is mapped, its rows are written right or an error says why not."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import (
    BigInteger,
    ForeignKey,
    create_engine,
    event,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    column_property,
    mapped_column,
    relationship,
)
from sqlalchemy.orm.exc import StaleDataError

from celery_locks import LockConfigError, LockNotOwned, StaleFence
from celery_locks.fencing.sqlalchemy import Fenced, FencedDataclass, claim, fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import Base as WalletBase
from tests.fencing.wallets import Wallet, spelt


class Base(DeclarativeBase):
    pass


class Owner(Base):
    __tablename__ = "owners"

    id: Mapped[int] = mapped_column(primary_key=True)


class Account(Fenced, Base):
    """Joined to the tables of its subclasses; with a version, a column that the database fills in, and one put off."""

    __tablename__ = "accounts"
    __fence_key__ = "owner:{owner_id}"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="")
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("owners.id"))
    balance: Mapped[int] = mapped_column(default=0)
    changed: Mapped[int] = mapped_column(default=0, onupdate=select(func.abs(-77)).scalar_subquery())
    text: Mapped[str] = mapped_column(default="long", deferred=True)
    version: Mapped[int] = mapped_column()
    owner: Mapped[Owner | None] = relationship(lazy="joined")
    entries: Mapped[list[Entry]] = relationship(back_populates="account", cascade="all, delete-orphan")
    double = column_property(balance * 2)

    __mapper_args__ = {"version_id_col": version, "polymorphic_on": kind, "polymorphic_identity": "plain"}  # noqa: RUF012


class Savings(Account):
    __tablename__ = "savings"
    __mapper_args__ = {"polymorphic_identity": "savings", "eager_defaults": True}  # noqa: RUF012

    number: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    rate: Mapped[int] = mapped_column(default=1)


class Entry(Base):
    __tablename__ = "entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    account: Mapped[Account] = relationship(back_populates="entries")


class Page(Fenced, Base):
    __tablename__ = "pages"

    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int | None] = mapped_column(ForeignKey("entries.id"))
    entry: Mapped[Entry | None] = relationship()


class Seat(Fenced, Base):
    """With a key of two columns, and another name for the fence."""

    __tablename__ = "seats"

    row: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    taken: Mapped[str | None] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(default="seat")

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "seat"}  # noqa: RUF012


class Box(Seat):
    """In the same table as other seats."""

    __mapper_args__ = {"polymorphic_identity": "box"}  # noqa: RUF012


@pytest.fixture
def engine():
    """An SQLite in memory."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Owner(id=1), Owner(id=2)])
        session.flush()
        session.add_all([Account(id=1, owner_id=1), Savings(id=2, number=2, owner_id=1, rate=3)])
        session.add_all([Seat(row=1, place=1), Box(row=1, place=2), Seat(row=2, place=1)])
        session.commit()
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session


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


def test_another_error_of_the_flush_is_what_it_is(session):
    """A row that breaks a rule of its table."""
    first, second = session.get(Seat, (1, 1)), session.get(Seat, (1, 2))
    first.taken = second.taken = "anna"
    with pytest.raises(IntegrityError):
        fenced(session, [first, second], lease_of(5))
    session.rollback()
    assert (first.fence, first.taken) == (0, None)


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


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (lambda session: session.get(Owner, 1), (ArgumentError, "Owner has no fence: give it the mixin Fenced")),
        (lambda _: Seat(row=5, place=5), (InvalidRequestError, r"session.add\(\) it first")),
        (lambda _: update(Savings).values(rate=1), (ArgumentError, "inherits its fence")),
    ],
    ids=["without a fence", "in no session", "the table without it"],
)
def test_what_cannot_be_guarded_is_refused(session, what, error):
    """With what to do."""
    kind, message = error
    with pytest.raises(kind, match=message):
        fenced(session, what(session), lease_of(5))


def test_an_update_that_goes_where_it_is_not_seen_is_undone(engine):
    """A session that sends it to another engine than it says is no way around the guard."""

    class Astray(Session):
        def get_bind(self, *about, **more):
            return elsewhere if self._flushing else super().get_bind(*about, **more)

    elsewhere = create_engine("sqlite://", creator=engine.raw_connection)
    with Astray(engine) as session:
        seat = session.get(Seat, (1, 1))
        seat.taken = "anna"
        with pytest.raises(InvalidRequestError, match="an UPDATE that could be guarded"):
            fenced(session, seat, lease_of(5))
        session.commit()
    with Session(engine) as session:
        assert session.get(Seat, (1, 1)).taken is None


def test_a_session_that_reads_elsewhere_writes_and_does_not_claim(engine):
    """As with replicas, which may be behind."""

    class Routing(Session):
        def get_bind(self, mapper=None, *, clause=None, **_):
            del mapper
            return engine if self._flushing or (clause is not None and clause.is_dml) else replica

    replica = create_engine("sqlite://", creator=engine.raw_connection)
    with Routing() as session:
        with pytest.raises(InvalidRequestError, match="bound to the engine that writes"):
            claim(session, Seat, (1, 1), lease_of(5))
        seat = session.get(Seat, (1, 1))
        seat.taken = "anna"
        fenced(session, seat, lease_of(5))
        session.commit()
    with Session(engine) as session:
        assert (session.get(Seat, (1, 1)).taken, session.get(Seat, (1, 1)).fence) == ("anna", 5)


def test_events_of_a_class_are_called(session):
    """The flush is SQLAlchemy's own."""
    called = []

    def note(*about):
        called.append(about[2])

    event.listen(Seat, "before_update", note)
    seat = session.get(Seat, (1, 1))
    seat.taken = "anna"
    fenced(session, seat, lease_of(5))
    event.remove(Seat, "before_update", note)
    assert called == [seat]


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


def test_an_async_session_runs_it(postgres_url):
    """With run_sync, which SQLAlchemy has for what is written without await."""

    async def write():
        engine = create_async_engine(spelt(postgres_url))
        async with engine.begin() as connection:
            await connection.run_sync(WalletBase.metadata.create_all)
        async with AsyncSession(engine) as session:
            session.add(Wallet(id=1))
            await session.commit()
            wallet = await session.run_sync(claim, Wallet, 1, lease_of(5))
            wallet.balance = 3
            await session.run_sync(fenced, wallet, lease_of(5))
            await session.commit()
            with pytest.raises(StaleFence):
                await session.run_sync(claim, Wallet, 1, lease_of(4))
            with pytest.raises(TypeError, match=r"await session\.run_sync"):
                fenced(session, wallet, lease_of(5))
        await engine.dispose()

    asyncio.run(write())
