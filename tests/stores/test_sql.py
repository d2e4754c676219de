"""The SQL store keeps the contract on SQLite, Postgres and MariaDB."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url
from celery_locks.stores.sql import SqlStore
from tests.stores.contract import (
    ExpiringContract,
    FaultContract,
    InspectContract,
    LostAnswerContract,
    ProcessContract,
    StoreContract,
    StoreFixtures,
    killed,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.mariadb import MariaServer
    from tests.servers.postgres import PostgresServer
    from tests.stores.contract import Opens


#: 125 that connect at once on a busy machine may need longer than the 2 s of the default.
UNHURRIED = "?timeout=30"


class _Contract(StoreContract, ExpiringContract, InspectContract, LostAnswerContract, ProcessContract):
    store_type = SqlStore
    short = 0.1


class TestSqlite(_Contract):
    """A file of one machine. The crowd is smaller: SQLite's waiters sleep up to 0.1 s between two looks at a lock."""

    contenders = 25

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Opens:
        return functools.partial(from_any_url, f"sql+sqlite:///{tmp_path}/locks.db{UNHURRIED}")


class TestPostgres(_Contract):
    """A server of Postgres. A table is made sooner than a database of one's own."""

    @pytest.fixture
    def open_store(self, postgres_server: PostgresServer) -> Opens:
        postgres_server.ask("DROP TABLE IF EXISTS celery_locks")
        return functools.partial(from_any_url, f"sql+{postgres_server.url()}{UNHURRIED}")


class TestMariadb(_Contract):
    """A server of MariaDB."""

    @pytest.fixture
    def open_store(self, mariadb_url: str) -> Opens:
        # It speaks no TLS, and PyMySQL reads all certificates of the machine before it learns that.
        return functools.partial(from_any_url, f"sql+{mariadb_url}{UNHURRIED}&ssl_disabled=true")


class TestSqliteFaults(FaultContract, StoreFixtures):
    """A file: there is no server to be upset, and a holder that was killed leaves no lock on it."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Opens:
        return functools.partial(from_any_url, f"sql+sqlite:///{tmp_path}/locks.db")

    @pytest.fixture
    def upset(self) -> Callable[[], object]:
        return lambda: None


class TestPostgresFaults(FaultContract, StoreFixtures):
    """A server that is killed and started again: what it has committed it keeps, so two never hold."""

    @pytest.fixture
    def open_store(self, postgres_url: str) -> Opens:
        return functools.partial(from_any_url, f"sql+{postgres_url}")

    @pytest.fixture
    def upset(self, postgres_server: PostgresServer) -> Callable[[], object]:
        return killed(postgres_server)


class TestMariadbFaults(FaultContract, StoreFixtures):
    """A server that is killed and started again: what it has committed it keeps, so two never hold."""

    @pytest.fixture
    def open_store(self, mariadb_url: str) -> Opens:
        return functools.partial(from_any_url, f"sql+{mariadb_url}?ssl_disabled=true")

    @pytest.fixture
    def upset(self, mariadb_server: MariaServer) -> Callable[[], object]:
        return killed(mariadb_server)
