"""A pooler between us and Postgres: one that keeps sessions serves, one that shares them is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.lease import Verdict
from tests.servers.missing import require
from tests.servers.pgbouncer import PgBouncerServer
from tests.servers.programs import PGBOUNCER
from tests.stores.contract import claim, patient, take, verdict
from tests.stores.processes import Crew
from tests.stores.session_stores import opened, room_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer
    from tests.stores.session_stores import Database

QUICK = "?timeout=0.5&idle_timeout=2"


@pytest.fixture(autouse=True)
def _pgbouncer() -> None:
    require(PGBOUNCER)


def through(pool: PgBouncerServer, database: Database) -> str:
    name = database.url.rpartition("/")[2]
    return pool.url(name).replace("postgresql://", "postgresql+advisory://")


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("turns", ["0", "1"], ids=["last free first", "round robin"])
def test_a_pool_that_shares_sessions_is_refused(
    postgres_server: PostgresServer, advisory_database: Database, mode: str, turns: str
) -> None:
    """The error says why and what to name instead, also when nobody else uses the pool, and no lock is left in it."""
    with (
        PgBouncerServer(postgres_server, mode, server_round_robin=turns) as pool,
        opened(through(pool, advisory_database)) as store,
    ):
        for _ in range(3):
            with pytest.raises(LockConfigError, match=r"pool_mode=transaction.*name Postgres itself"):
                store.acquire(claim("wallet"))
        assert advisory_database.is_quiet()


def test_a_pool_that_shares_sessions_is_refused_while_others_use_it(
    postgres_server: PostgresServer, advisory_database: Database
) -> None:
    """Also when its free sessions come and go."""
    with PgBouncerServer(postgres_server, "transaction") as pool, Crew() as crew:
        for _ in range(3):
            crew.start(_busy, pool.url(advisory_database.url.rpartition("/")[2]))
        for _ in range(10):
            with opened(through(pool, advisory_database)) as store, pytest.raises(LockConfigError, match="pool_mode"):
                store.acquire(claim("wallet"))


def _busy(url: str) -> None:
    import psycopg  # noqa: PLC0415 - in the child alone

    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        while True:
            connection.execute("SELECT 1")


def test_a_session_that_changes_later_is_noticed(postgres_server: PostgresServer, advisory_database: Database) -> None:
    """Where a pool begins to share after we connected, no lock is taken in another's session, and the error says so."""
    with opened(advisory_database.url) as store:
        lease = take(store, "held")
        room_of(store).session.pid += 1
        with pytest.raises(StoreUnavailable, match=r"the session has changed.*pool_mode=session"):
            store.acquire(claim("wallet"))
        assert not lease.held()
        assert verdict(store, lease) is Verdict.LOST
    assert postgres_server.answers()
    wait_until(advisory_database.is_quiet, "the locks to end", 30)


#: What a process ends with that died while it held a key.
DIED_HOLDING = 9


def test_a_holder_behind_a_pool_that_dies_frees_its_key(
    postgres_server: PostgresServer, advisory_database: Database
) -> None:
    """A pool that keeps sessions ends one, or makes it new, when its client is gone."""
    with PgBouncerServer(postgres_server, "session") as pool, Crew() as crew:
        url = through(pool, advisory_database)
        with opened(url) as other:
            take(other, "connected")
            holder = crew.start(_take_and_die, url)
            holder.join(30)
            assert holder.exitcode == DIED_HOLDING, "it never held the key: this run proves nothing"
            patient(other, "wallet", "ben", timeout=20)


def _take_and_die(url: str) -> None:
    import os  # noqa: PLC0415 - in the child alone

    with opened(url) as store:
        take(store, "wallet")
        os._exit(DIED_HOLDING)


def test_a_pool_that_is_restarted_ends_all_locks(postgres_server: PostgresServer, advisory_database: Database) -> None:
    """Whoever held one knows it at once, and works on when the pool is back."""
    with PgBouncerServer(postgres_server, "session") as pool, opened(through(pool, advisory_database) + QUICK) as store:
        lease = take(store, "wallet")
        pool.kill()
        wait_until(lambda: not lease.held(), "the news of the end", 30)
        pool.start()
        assert patient(store, "wallet", "ben", timeout=20).fence > lease.fence


def test_a_pool_without_a_second_session_is_an_outage(
    postgres_server: PostgresServer, advisory_database: Database
) -> None:
    """Whether a pool shares is found out with a second connection: one that gives none is not trusted."""
    with (
        PgBouncerServer(postgres_server, "session", default_pool_size="1") as pool,
        opened(through(pool, advisory_database) + QUICK) as store,
        pytest.raises(StoreUnavailable),
    ):
        store.acquire(claim("wallet"))
