"""Where guards write, and where the locks are by whose fences they go."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest
import redis
from sqlalchemy import event, insert
from sqlalchemy.orm import Session

from celery_locks.fencing.redis import Fenced
from tests.apart import no_apps_from_other_tests
from tests.fencing.bank.fixtures import bank_database, bank_url
from tests.fencing.pages import serving
from tests.fencing.wallets import WALLETS, Base, connected
from tests.stores.session_stores import _advisory_database, _getlock_database, advisory_database, getlock_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

__all__ = [
    "_advisory_database",
    "_getlock_database",
    "advisory_database",
    "bank_database",
    "bank_url",
    "getlock_database",
    "no_apps_from_other_tests",
]


@pytest.fixture
def pages_url() -> Iterator[str]:
    """A web server."""
    with serving() as url:
        yield url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client that reads texts."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def guard(client: redis.Redis) -> Fenced:
    """The guard for Redis, with that client."""
    return Fenced(client)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file for a database of the test's own."""
    return f"sqlite:///{tmp_path}/record.db"


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


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """One of the database that the test is about."""
    with Session(engine) as session:
        yield session


@pytest.fixture(params=["session", "connection"])
def writer(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Session | Connection]:
    """What executes statements, each in turn."""
    with Session(engine) if request.param == "session" else engine.connect() as writer:
        yield writer


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that are sent, by their first word."""
    said: list[str] = []

    def note(*about: Any) -> None:
        said.append(about[2].split()[0])

    event.listen(engine, "before_cursor_execute", note)
    yield said
    event.remove(engine, "before_cursor_execute", note)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After `make proof`: of each lock store with each guard, how many stale writes landed."""
    if "GHOST_PAUSES" not in os.environ:
        return
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            counts = "; ".join(f"{how}: {count}" for how, count in report.user_properties)
            terminalreporter.write_line(f"{outcome}, stale writes that landed: {counts}  {report.nodeid}")
