"""The private PgBouncer passes on what it is told, and lends sessions as its mode says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.servers import missing
from tests.servers.pgbouncer import PgBouncerServer
from tests.servers.programs import PGBOUNCER

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer


@pytest.mark.parametrize(("mode", "shared"), [("session", False), ("transaction", True)])
def test_a_pool_lends_sessions_as_its_mode_says(postgres_server: PostgresServer, mode: str, *, shared: bool) -> None:
    """Two clients of a pool that keeps sessions have one each; those of a pool of transactions may have the same."""
    missing.require(PGBOUNCER)
    with PgBouncerServer(postgres_server, mode) as pool, contextlib.ExitStack() as open_ones:
        clients = [open_ones.enter_context(psycopg.connect(pool.url(), autocommit=True)) for _ in range(2)]
        one, two = (client.execute("SELECT pg_backend_pid()").fetchone() for client in clients)
        assert (one == two) is shared


def test_a_pooler_is_asked_through_to_its_server(postgres_server: PostgresServer) -> None:
    """It answers for as long as its Postgres does, and ends well when it is asked to."""
    missing.require(PGBOUNCER)
    with PgBouncerServer(postgres_server, "session", max_client_conn="9") as pool:
        assert pool.answers()
        pool.restart()
        assert pool.answers()
