"""Classes that are mapped in every way, and a database that has some of each."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from sqlalchemy import ForeignKey, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, column_property, mapped_column, relationship

from celery_locks.fencing.sqlalchemy import Fenced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


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


@contextlib.contextmanager
def opened() -> Iterator[Engine]:
    """An SQLite in memory, with some of each."""
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
