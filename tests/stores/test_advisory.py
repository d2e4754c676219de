"""Postgres advisory locks keep the contract, directly and through a pooler that keeps sessions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url
from celery_locks.stores.advisory import AdvisoryStore, wire
from tests.servers.missing import require
from tests.servers.pgbouncer import PgBouncerServer
from tests.servers.programs import PGBOUNCER
from tests.stores.contract import (
    ConnectionContract,
    FaultContract,
    InspectContract,
    LostAnswerContract,
    ProcessContract,
    StoreContract,
    StoreFixtures,
    WatchesContract,
)
from tests.stores.contract.watchers import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.postgres import PostgresServer
    from tests.stores.contract import Opens
    from tests.stores.session_stores import Database

#: 125 processes that connect at once to a busy machine take their time.
PATIENT = "?timeout=20&connect_timeout=20"


class TestAdvisory(
    StoreContract, ConnectionContract, InspectContract, LostAnswerContract, ProcessContract, WatchesContract
):
    """One Postgres over TCP."""

    store_type = AdvisoryStore

    @pytest.fixture
    def open_store(self, advisory_database: Database) -> Opens:
        return functools.partial(from_any_url, advisory_database.url + PATIENT)

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
    def open_store(self, pool: PgBouncerServer, advisory_database: Database) -> Opens:
        name = advisory_database.url.rpartition("/")[2]
        return functools.partial(from_any_url, pool.url(name).replace("postgresql://", "postgresql+advisory://"))


class TestAdvisoryFaults(FaultContract, StoreFixtures):
    """A frozen holder loses its key when its session was idle for too long, and knows it.

    When the server is killed all locks end, and each holder knows it before the server is back.
    """

    @pytest.fixture
    def open_store(self, advisory_database: Database) -> Opens:
        return functools.partial(from_any_url, f"{advisory_database.url}?idle_timeout=3")

    @pytest.fixture
    def upset(self, postgres_server: PostgresServer) -> Callable[[], object]:
        def killed() -> None:
            postgres_server.kill()
            postgres_server.start()

        return killed
