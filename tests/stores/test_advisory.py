"""Postgres advisory locks keep the contract, directly and through a pooler that keeps sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.stores.advisory import AdvisoryStore, wire
from tests.servers.missing import require
from tests.servers.pgbouncer import PgBouncerServer
from tests.servers.programs import PGBOUNCER
from tests.stores.contract import ConnectionContract, StoreFixtures, WatchesContract
from tests.stores.contract.watchers import LONG
from tests.stores.session_contracts import SessionFaults, Sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import PostgresServer
    from tests.stores.session_stores import Database


@pytest.fixture
def database(advisory_database: Database) -> Database:
    return advisory_database


class TestAdvisory(Sessions, WatchesContract):
    """One Postgres over TCP."""

    store_type = AdvisoryStore

    @pytest.fixture(autouse=True)
    def _told(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody looks himself, but where nobody can tell."""
        if "dead_holder" not in request.node.name:
            monkeypatch.setattr(wire, "UNTOLD", LONG)


@pytest.fixture(scope="module")
def pool(postgres_server: PostgresServer) -> Iterator[PgBouncerServer]:
    require(PGBOUNCER)
    with PgBouncerServer(postgres_server, "session", default_pool_size="100") as server:
        yield server


class TestSessionPool(ConnectionContract, StoreFixtures):
    """A PgBouncer that lends a session for as long as its client is there."""

    @pytest.fixture
    def url(self, pool: PgBouncerServer, database: Database) -> str:
        name = database.url.rpartition("/")[2]
        return pool.url(name).replace("postgresql://", "postgresql+advisory://")


class TestAdvisoryFaults(SessionFaults):
    pass
