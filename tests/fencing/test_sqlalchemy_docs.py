"""What docs/fencing/sqlalchemy.md shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from celery_locks import LockedTask, StaleFence
from tests.fencing.leases import lease_of

TEXT = (Path(__file__).parents[2] / "docs" / "fencing" / "sqlalchemy.md").read_text(encoding="utf-8")
MODELS, JOB, SAVEPOINT, CORE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def run(code, names):
    # Its annotations are to be as in a module of its own.
    exec(compile(code, "the page", "exec", dont_inherit=True), names)  # noqa: S102


@pytest.fixture
def names():
    """What the page takes as given: an app, an engine, a lease, a class for the visits."""

    class Base(DeclarativeBase):
        pass

    class Visit(Base):
        __tablename__ = "visits"

        id: Mapped[int] = mapped_column(primary_key=True)
        wallet_id: Mapped[int]
        note: Mapped[str] = mapped_column(default="")

    app = Celery("bank")
    app.conf.lock_store = "memory://"
    engine = create_engine("sqlite://")
    given = {"Base": Base, "Mapped": Mapped, "mapped_column": mapped_column, "app": app, "engine": engine}
    given |= {"Session": Session, "update": update, "Visit": Visit, "LockedTask": LockedTask}
    given |= {"Table": Table, "Column": Column, "Integer": Integer, "metadata": MetaData()}
    run(MODELS, given)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(given["Wallet"](id=7, balance=100))
        session.commit()
    yield given
    engine.dispose()


def test_the_job_writes_under_its_own_lease(names):
    """Claim, change, write."""
    run(JOB, names)
    names["withdraw"](7, 30)
    with Session(names["engine"]) as session:
        wallet = session.get(names["Wallet"], 7)
        assert wallet.balance == 70
        assert wallet.fence > 0


@pytest.mark.parametrize(("fence", "balance", "notes"), [(5, 0, [""]), (3, 100, ["", "came too late"])])
def test_a_savepoint_keeps_the_rest(names, fence, balance, notes):
    """Written, or refused and noted."""
    with Session(names["engine"]) as session:
        session.execute(update(names["Wallet"]).values(fence=4))
        session.commit()
        run(SAVEPOINT, names | {"lease": lease_of(fence, "wallet:7")})
        session.expire_all()
        assert session.get(names["Wallet"], 7).balance == balance
        assert list(session.scalars(select(names["Visit"].note))) == notes


def test_a_core_table_is_guarded(names):
    """With the key of its rows."""
    head, write = CORE.split("\nwith ")
    run(head, names)
    accounts = names["accounts"]
    names["metadata"].create_all(names["engine"])
    with names["engine"].begin() as connection:
        connection.execute(insert(accounts), [{"id": 1, "user_id": 3, "balance": 9}])
    run(f"with {write}", names | {"lease": lease_of(5, "user:3")})
    with pytest.raises(StaleFence):
        run(f"with {write}", names | {"lease": lease_of(4, "user:3")})
