"""What a URL of a session store may say, and what is said when it is wrong or its server is not to be had."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.stores import open_store
from tests.servers.process import HOST, free_port
from tests.stores.contract import claim, take
from tests.stores.session_stores import opened, room_of, session_of

if TYPE_CHECKING:
    from tests.servers.mariadb import MariaServer
    from tests.servers.postgres import PostgresServer
    from tests.stores.session_stores import Database

WRONG = {
    "postgresql+advisory://localhost/bank?timeout=soon": "timeout must be seconds, at least 0.001",
    "postgresql+advisory://localhost/bank?timeout=0": "timeout must be seconds",
    "postgresql+advisory://localhost/bank?idle_timeout=1": "idle_timeout must be seconds, at least 2",
    "postgresql+advisory://localhost/bank?idle_timeout=nan": "idle_timeout must be seconds",
    "postgresql+advisory://localhost/bank?colour=red": "is not a Postgres URL .*colour",
    "postgresql+advisory://localhost:many/bank": "is not a Postgres URL .*write postgresql[+]advisory://",
    "postgresql+advisory://localhost:70000/bank": "is not a Postgres URL .*the port is no number from 1 to 65535",
    "postgresql+advisory://localhost:0/bank": "the port is no number from 1 to 65535",
    "postgresql+advisory://localhost/bank?connect_timeout=soon": "connect_timeout is no number",
    "postgresql+advisory://localhost/bank?sslmode=maybe": 'invalid sslmode value: "maybe"',
    "postgresql+advisory://anna?sslmode=secret@host/bank": "it cannot be read",
    "mysql+getlock://localhost": "names no database: write mysql[+]getlock://",
    "mysql+getlock://localhost/": "names no database",
    "mysql+getlock://localhost:many/bank": "names no database",
    "mysql+getlock://localhost:0/bank": "must name one host, and a port from 1 up",
    "mysql+getlock://one,two/bank": "must name one host",
    "mysql+getlock://localhost/bank?ssl_ca=/nowhere.pem": "ssl_ca: there is no file /nowhere.pem",
    "mysql+getlock://localhost/bank?ssl_disabled=maybe": "cannot be used, ssl_disabled='maybe'",
    "mysql+getlock://localhost/bank?colour=red": "cannot be used, colour='red'; known are .*idle_timeout",
    "mariadb+getlock://localhost/bank?idle_timeout=forever": "idle_timeout must be seconds",
}


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_found_before_anything_connects(url: str) -> None:
    """The error says what to write."""
    with pytest.raises(LockConfigError, match=WRONG[url]):
        open_store(url)


@pytest.mark.parametrize("scheme", ["postgresql+advisory", "mysql+getlock", "mariadb+getlock"])
def test_a_password_is_never_shown(scheme: str) -> None:
    """Not in the store's name, nor in an error about its URL or its server."""
    url = f"{scheme}://anna:s3cret@{HOST}:{free_port()}/bank"
    texts = [repr(open_store(url))]
    with pytest.raises(StoreUnavailable) as outage:
        open_store(f"{url}?timeout=1").acquire(claim("wallet"))
    texts.append(str(outage.value))
    for wrong in (f"{url}?colour=s3cret", f"{scheme}://anna:s3cret/@host:x/", f"{scheme}://anna:s3#cret@host:70000/b"):
        with contextlib.suppress(LockConfigError):
            open_store(wrong)
            continue
        with pytest.raises(LockConfigError) as mistake:
            open_store(wrong)
        texts.append(str(mistake.value))
    assert not [text for text in texts if "s3cret" in text.replace("colour='s3cret'", "")]


def test_options_may_come_from_settings_too(database: Database) -> None:
    """What the URL says counts more."""
    options = {"timeout": 3, "idle_timeout": 9}
    if database.url.startswith("mysql"):
        options["ssl_disabled"] = True
    with contextlib.closing(open_store(f"{database.url}?idle_timeout=7", options=options)) as store:
        take(store, "wallet")
        assert room_of(store).session.times == (3, 7)


def test_the_server_is_told_how_patient_to_be(advisory_database: Database) -> None:
    """A session of Postgres has the times of its URL, for a holder that is frozen and for one that is cut off."""
    with opened(f"{advisory_database.url}?idle_timeout=7.5") as store:
        take(store, "wallet")
        session = session_of(store)
        names = ("idle_session_timeout", "tcp_user_timeout", "tcp_keepalives_idle", "synchronous_commit")
        told = [session.do(f"SHOW {name}")[0].get_value(0, 0).decode() for name in names]
    assert told == ["7500ms", "7500", "1", "on"]


def test_mariadb_is_told_how_patient_to_be(getlock_database: Database) -> None:
    """In whole seconds, rounded up: it must not end a session before its holder knows."""
    with opened(f"{getlock_database.url}?idle_timeout=7.5") as store:
        take(store, "wallet")
        asked = "SELECT @@wait_timeout, @@net_write_timeout, @@sql_mode"
        assert session_of(store).do(asked).rows == ((8, 8, "STRICT_ALL_TABLES"),)


def test_a_database_that_is_not_there_is_an_outage(database: Database) -> None:
    """The error says what to do."""
    url = database.url.rpartition("/")[0] + "/nowhere"
    with opened(url) as store, pytest.raises(StoreUnavailable, match=r"nowhere.*[Cc]reate the database"):
        store.acquire(claim("wallet"))


def test_a_server_that_is_not_there_is_an_outage(database: Database) -> None:
    """In one line that names the address."""
    database.server.stop()
    with opened(database.url) as store, pytest.raises(StoreUnavailable) as outage:
        store.acquire(claim("wallet"))
    assert f"{HOST}:{database.server.port}" in str(outage.value)
    assert "check that the server runs" in str(outage.value)
    assert "\n" not in str(outage.value)


def test_a_user_of_postgres_that_may_create_nothing(
    postgres_server: PostgresServer, advisory_database: Database
) -> None:
    """It is told so, and served once somebody has created what it needs."""
    name = advisory_database.url.rpartition("/")[2]
    postgres_server.ask("CREATE ROLE clerk LOGIN")
    postgres_server.ask("DROP TABLE IF EXISTS celery_locks_sessions; DROP SEQUENCE IF EXISTS celery_locks_fences", name)
    try:
        with opened(advisory_database.url.replace("postgres@", "clerk@")) as store:
            with pytest.raises(
                StoreUnavailable, match=r"permission denied.*let this user create celery_locks_sessions"
            ):
                store.acquire(claim("wallet"))
            with opened(advisory_database.url) as owner:
                take(owner, "another")
            postgres_server.ask("GRANT SELECT, INSERT, UPDATE, DELETE ON celery_locks_sessions TO clerk", name)
            postgres_server.ask("GRANT USAGE ON celery_locks_fences TO clerk", name)
            take(store, "wallet")
            assert store.force_release("wallet")
    finally:
        postgres_server.ask("DROP OWNED BY clerk", name)
        postgres_server.ask("DROP ROLE clerk")


def test_a_user_of_mariadb_that_may_create_nothing(mariadb_server: MariaServer, getlock_database: Database) -> None:
    """It is told so, and served once somebody has created what it needs."""
    name = getlock_database.url.rpartition("/")[2]
    mariadb_server.ask("DROP TABLE IF EXISTS celery_locks_sessions", name)
    mariadb_server.ask("CREATE USER clerk@'%'")
    try:
        mariadb_server.ask(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO clerk@'%'")
        with opened(getlock_database.url.replace("root@", "clerk@")) as store:
            with pytest.raises(StoreUnavailable, match=r"command denied.*let this user create"):
                store.acquire(claim("wallet"))
            with opened(getlock_database.url) as owner:
                take(owner, "another")
            take(store, "wallet")
            assert store.force_release("wallet")
    finally:
        mariadb_server.ask("DROP USER clerk@'%'")


def test_a_password_is_asked_for(mariadb_server: MariaServer, getlock_database: Database) -> None:
    """A password with odd letters, written with its percents, opens the door, and a wrong one says so."""
    name = getlock_database.url.rpartition("/")[2]
    mariadb_server.ask("CREATE USER anna@'%' IDENTIFIED BY 'a/b?c#d@e%f'")
    try:
        mariadb_server.ask(f"GRANT ALL ON {name}.* TO anna@'%'")
        with opened(getlock_database.url.replace("root@", "anna:a%2Fb%3Fc%23d%40e%25f@")) as store:
            take(store, "wallet")
        with (
            opened(getlock_database.url.replace("root@", "anna:wrong@")) as store,
            pytest.raises(StoreUnavailable, match="the user or password is wrong"),
        ):
            store.acquire(claim("wallet"))
    finally:
        mariadb_server.ask("DROP USER anna@'%'")


def test_a_table_that_was_dropped_is_an_outage_and_comes_back(database: Database) -> None:
    """Held leases are lost with it, and the next process to connect makes it anew."""
    with opened(database.url) as store:
        lease = take(store, "wallet")
        database.server.ask("DROP TABLE celery_locks_sessions", database.url.rpartition("/")[2])
        with pytest.raises(StoreUnavailable, match=r"celery_locks_sessions.*leave the"):
            store.acquire(claim("another"))
        with opened(database.url) as other:
            assert take(other, "another").fence > lease.fence
