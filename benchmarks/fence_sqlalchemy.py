"""A guarded write beside the plain one: a transaction that writes one known row, by Core and by the ORM."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, insert, update
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from benchmarks.sql import database
from celery_locks.fencing.sqlalchemy import Fenced, fenced
from celery_locks.lease import Claim, Lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    Subject = Callable[[], object]

DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "sqlite": "sqlite"}
NAMES = ("Postgres", "MariaDB", "SQLite")
TARGET = AtMost(1.15)


class _Base(DeclarativeBase):
    pass


class _Wallet(Fenced, _Base):
    __tablename__ = "wallets"

    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int] = mapped_column(default=0)


def run(_url: str, *, quick: bool) -> Part:
    """Each database in turn; those that are not installed are left out."""
    figures: list[Figure] = []
    remarks = []
    for name in NAMES:
        with database(name) as url:
            if url is None:
                remarks.append(f"{name} is not installed and was left out")
            else:
                figures += _figures(name, _times(url, quick=quick))
    return Part("fence-sqlalchemy", "a transaction that writes one row, guarded / plain", figures, remarks)


def _times(url: str, *, quick: bool) -> Rounds:
    spelt = make_url(url.removeprefix("sql+"))
    engine = create_engine(spelt.set(drivername=DRIVERS[spelt.drivername]))
    _Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(_Wallet), [{"id": number} for number in (1, 2, 3, 4)])
    lease = Lease(Claim("wallet:1", "benchmark", 30.0), 1_700_000_000_000_000, math.inf)
    subjects = {
        "core": _core(engine, 1, None),
        "guarded core": _core(engine, 2, lease),
        "orm": _orm(engine, 3, None),
        "guarded orm": _orm(engine, 4, lease),
    }
    times = Rounds.timed(subjects, rounds=5 if quick else 60, calls=5 if quick else 20)
    engine.dispose()
    return times


def _figures(name: str, times: Rounds) -> list[Figure]:
    return [
        Figure.of(f"{name}: a statement, plain", times.micros("core"), "µs"),
        Figure.of(f"{name}: a statement, guarded / plain", times.ratio("guarded core", "core"), target=TARGET),
        Figure.of(f"{name}: an object, plain", times.micros("orm"), "µs"),
        Figure.of(f"{name}: an object, guarded / plain", times.ratio("guarded orm", "orm"), target=TARGET),
    ]


def _core(engine: Engine, number: int, lease: Lease | None) -> Subject:
    table = _Base.metadata.tables["wallets"]
    balances = itertools.count(1)

    def write() -> None:
        statement = update(table).where(table.c.id == number).values(balance=next(balances))
        with engine.begin() as connection:
            if lease is None:
                connection.execute(statement)
            else:
                fenced(connection, statement, lease)

    return write


def _orm(engine: Engine, number: int, lease: Lease | None) -> Subject:
    """The object is read in the same transaction, as a job does that has just begun."""
    balances = itertools.count(1)

    def write() -> None:
        with Session(engine) as session, session.begin():
            wallet = session.get_one(_Wallet, number)
            wallet.balance = next(balances)
            if lease is not None:
                fenced(session, wallet, lease)

    return write
