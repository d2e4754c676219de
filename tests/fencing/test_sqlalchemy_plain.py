"""What a session does beside the guard: no plain write takes a fence away, and no guarded one a plain change."""

from __future__ import annotations

import pytest
from sqlalchemy import ForeignKey, create_engine, update
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column, relationship

from celery_locks.fencing.sqlalchemy import Fenced, FencedDataclass, claim, fenced
from tests.fencing.leases import lease_of


class Base(DeclarativeBase):
    pass


class Owner(Base):
    __tablename__ = "owners"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="")


class Account(Fenced, Base):
    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int] = mapped_column(default=0)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("owners.id"))
    owner: Mapped[Owner | None] = relationship(lazy="joined")


class DataBase(MappedAsDataclass, DeclarativeBase):
    pass


class Line(FencedDataclass, DataBase):
    __tablename__ = "lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int] = mapped_column(default=0)


@pytest.fixture
def engine():
    """An SQLite in memory, with a row of each class."""
    engine = create_engine("sqlite://")
    for base in (Base, DataBase):
        base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all([Account(id=1, owner=Owner(id=1)), Line(id=1)])
    yield engine
    engine.dispose()


@pytest.mark.parametrize("kind", [Account, Line])
@pytest.mark.parametrize("known", [True, False])
def test_a_copy_that_is_merged_puts_no_old_fence_back(engine, kind, known):
    """All else of it is written, and the row's fence stays; whether the session knows the row already or not."""
    with Session(engine) as session:
        copy = session.get(kind, 1)
    with Session(engine) as session, session.begin():
        session.execute(update(kind).values(fence=6))
    copy.balance = 10
    with Session(engine) as session, session.begin():
        there = session.get(kind, 1) if known else None
        session.merge(copy)
    with Session(engine) as session:
        there = session.get(kind, 1)
        assert (there.balance, there.fence) == (10, 6)


@pytest.mark.parametrize(
    "write",
    [
        lambda session: fenced(session, session.get(Account, 1), lease_of(5)),
        lambda session: claim(session, Account, 1, lease_of(5)),
    ],
    ids=["fenced", "claim"],
)
def test_what_is_read_with_a_claim_keeps_its_changes(engine, write):
    """Also in a session that does not flush by itself before it reads."""
    with Session(engine, autoflush=False) as session, session.begin():
        owner = session.get(Owner, 1)
        owner.name = "Ann"
        write(session)
        assert owner.name == "Ann"
    with Session(engine) as session:
        assert session.get(Owner, 1).name == "Ann"
