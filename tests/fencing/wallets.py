"""A table of wallets in each database, and what tests do with it beside the guard."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from sqlalchemy import String, create_engine, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from celery_locks.fencing.sqlalchemy import Fenced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


class Base(DeclarativeBase):
    """What the tables are made of."""


class Wallet(Fenced, Base):
    __tablename__ = "wallets"

    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int] = mapped_column(default=0)
    note: Mapped[str] = mapped_column(String(50), default="")


WALLETS = Wallet.__table__


def spelt(url: str) -> str:
    """With the driver that is tested."""
    if url.startswith("mysql:"):
        return f"{url.replace('mysql:', 'mysql+pymysql:', 1)}?ssl_disabled=true"
    return url.replace("postgresql:", "postgresql+psycopg:", 1)


@contextlib.contextmanager
def connected(url: str, **options: object) -> Iterator[Engine]:
    """An engine with as few connections as are needed."""
    engine = create_engine(spelt(url), **options)
    try:
        yield engine
    finally:
        engine.dispose()


def stored(engine: Engine) -> dict[int, tuple[int, int | None]]:
    """What is committed: balance and fence of each wallet."""
    columns = WALLETS.c
    with engine.connect() as connection:
        found = connection.execute(select(columns.id, columns.balance, columns.fence).order_by(columns.id))
        return {number: (balance, fence) for number, balance, fence in found}


def raised(engine: Engine, number: int, fence: int) -> None:
    """Another holder has written the row."""
    with engine.begin() as connection:
        connection.execute(update(WALLETS).where(WALLETS.c.id == number).values(fence=fence, balance=7))
