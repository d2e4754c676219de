"""The databases that guards write to: made once, and emptied for each test."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from tests.fencing.bank.fixtures import bank_database, bank_url
from tests.fencing.wallets import WALLETS, Base, connected

__all__ = ["bank_database", "bank_url"]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture(scope="session", params=["postgres", "mariadb", "sqlite"])
def wallets_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with tables, on each server in turn."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('wallets')}/wallets.db"
        else:
            url = stack.enter_context(request.getfixturevalue(f"{request.param}_server").database())
        with connected(url) as engine:
            Base.metadata.create_all(engine)
        yield url


@pytest.fixture(scope="session")
def _wallets_engine(wallets_url: str) -> Iterator[Engine]:
    with connected(wallets_url) as engine:
        yield engine


@pytest.fixture
def engine(_wallets_engine: Engine) -> Engine:
    """One of the databases, with the wallets 1, 2 and 3: each of 100, the fence of none known."""
    with _wallets_engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
        connection.execute(insert(WALLETS), [{"id": number, "balance": 100, "fence": 0} for number in (1, 2, 3)])
    return _wallets_engine
