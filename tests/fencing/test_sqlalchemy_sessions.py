"""The guard for SQLAlchemy: sessions of every kind, and what they do besides."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import create_engine, event, select, update
from sqlalchemy.exc import ArgumentError, IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from celery_locks import StaleFence
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import lease_of
from tests.fencing.ledger import Owner, Savings, Seat, opened
from tests.fencing.wallets import Base as WalletBase
from tests.fencing.wallets import Wallet, spelt


@pytest.fixture
def engine():
    with opened() as engine:
        yield engine


def test_another_error_of_the_flush_is_what_it_is(session):
    """A row that breaks a rule of its table."""
    first, second = session.get(Seat, (1, 1)), session.get(Seat, (1, 2))
    first.taken = second.taken = "anna"
    with pytest.raises(IntegrityError):
        fenced(session, [first, second], lease_of(5))
    session.rollback()
    assert (first.fence, first.taken) == (0, None)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (lambda session: session.get(Owner, 1), (ArgumentError, "Owner has no fence: give it the mixin Fenced")),
        (lambda _: Seat(row=5, place=5), (InvalidRequestError, r"session.add\(\) it first")),
        (lambda _: update(Savings).values(rate=1), (ArgumentError, "inherits its fence")),
        (lambda session: session.scalars(select(Seat)), (TypeError, "in a list, tuple or set.*ScalarResult")),
        (lambda _: Seat, (TypeError, "takes a mapped object.*Seat")),
        (lambda _: None, (TypeError, "takes a mapped object.*None")),
    ],
    ids=["without a fence", "in no session", "the table without it", "a result", "a class", "nothing"],
)
def test_what_cannot_be_guarded_is_refused(session, what, error):
    """With what to do."""
    kind, message = error
    with pytest.raises(kind, match=message):
        fenced(session, what(session), lease_of(5))


@pytest.mark.parametrize("wrong", [1, (1,), {"row": 1, "place": 1}, [1, 1]], ids=str)
def test_a_claim_names_the_whole_key(session, wrong):
    """The error says of which columns it is made."""
    with pytest.raises(TypeError, match=r"primary key of Seat, \(row, place\) as a tuple"):
        claim(session, Seat, wrong, lease_of(5))


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
