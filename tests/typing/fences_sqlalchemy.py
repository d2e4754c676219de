"""A user's guard for SQLAlchemy: everything here must type-check under `mypy --strict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, CursorResult, Integer, MetaData, Table, create_engine, delete, update
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)
from typing_extensions import assert_type

from celery_locks import Locks
from celery_locks.fencing.sqlalchemy import Fenced, FencedDataclass, claim, fence_column, fenced

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class Base(DeclarativeBase):
    pass


class Wallet(Fenced, Base):
    __tablename__ = "wallets"
    __fence_key__ = "wallet:{id}"

    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int] = mapped_column(default=0)


class Data(MappedAsDataclass, DeclarativeBase):
    pass


class Card(FencedDataclass, Data):
    __tablename__ = "cards"

    number: Mapped[int] = mapped_column(primary_key=True)


engine = create_engine("sqlite://")
column = fence_column("written_by", key="user:{id}")
accounts = Table("accounts", MetaData(), Column("id", Integer, primary_key=True), column)
scoped = scoped_session(sessionmaker(engine))
lock = Locks("memory://").lock("wallet:7")

with lock as lease, Session(engine) as session, session.begin():
    wallet = claim(session, Wallet, 7)
    assert_type(wallet, Wallet)
    assert_type(wallet.fence, int)
    fenced(session, wallet)
    fenced(scoped, [wallet, Card(7)], lease=lock)
    emptied = update(Wallet).where(Wallet.id == 7).values(balance=0)
    assert_type(fenced(session, emptied, lease), CursorResult[Any])
    fenced(session.connection(), delete(accounts)).rowcount  # noqa: B018


async def deposit(session: AsyncSession) -> None:
    wallet = await session.run_sync(claim, Wallet, (7,))
    wallet.balance += 1
    await session.run_sync(fenced, wallet)
