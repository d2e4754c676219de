"""The SQL store keeps the contract on SQLite, Postgres and MariaDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.stores.sql import SqlStore
from tests.stores.contract import (
    CrowdEvictsContract,
    CrowdsContract,
    CrowdsExpiringContract,
    EvictsContract,
    ExpiringContract,
    FaultContract,
    HandingContract,
    NotesContract,
    PositionsContract,
    RushContract,
    Scene,
    ServerContracts,
    TablesContract,
    killed,
    nothing,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.mariadb import MariaServer
    from tests.servers.postgres import PostgresServer

#: 125 that connect at once on a busy machine may need longer than the 2 s of the default.
UNHURRIED = "?timeout=30"


class _Contract(
    ServerContracts,
    CrowdsContract,
    CrowdsExpiringContract,
    CrowdEvictsContract,
    EvictsContract,
    ExpiringContract,
    HandingContract,
    NotesContract,
    PositionsContract,
    TablesContract,
):
    store_type = SqlStore
    short = 0.1


class TestSqlite(_Contract):
    """A file of one machine. The crowd is smaller: SQLite's waiters sleep up to 0.1 s between two looks at a lock."""

    contenders = 25

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sql+sqlite:///{tmp_path}/locks.db{UNHURRIED}"


class TestPostgres(_Contract, RushContract):
    """A server of Postgres. A table is made sooner than a database of one's own."""

    @pytest.fixture
    def url(self, postgres_server: PostgresServer) -> str:
        postgres_server.ask("DROP TABLE IF EXISTS celery_locks")
        return f"sql+{postgres_server.url()}{UNHURRIED}"


class TestMariadb(_Contract):
    """A server of MariaDB."""

    @pytest.fixture
    def url(self, mariadb_url: str) -> str:
        # It speaks no TLS, and PyMySQL reads all certificates of the machine before it learns that.
        return f"sql+{mariadb_url}{UNHURRIED}&ssl_disabled=true"


class TestSqliteFaults(FaultContract):
    """A file: there is no server to be upset, and a holder that was killed leaves no lock on it."""

    @pytest.fixture
    def scene(self, tmp_path: Path) -> Scene:
        return Scene(f"sql+sqlite:///{tmp_path}/locks.db", nothing)


class TestPostgresFaults(FaultContract):
    """A server that is killed and started again: what it has committed it keeps, so two never hold."""

    @pytest.fixture
    def scene(self, postgres_url: str, postgres_server: PostgresServer) -> Scene:
        return Scene(f"sql+{postgres_url}", killed(postgres_server))


class TestMariadbFaults(FaultContract):
    """A server that is killed and started again: what it has committed it keeps, so two never hold."""

    @pytest.fixture
    def scene(self, mariadb_url: str, mariadb_server: MariaServer) -> Scene:
        return Scene(f"sql+{mariadb_url}?ssl_disabled=true", killed(mariadb_server))
