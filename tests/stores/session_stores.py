"""Databases as stores see them whose locks live in a session, and what their tests share."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.sessions import SessionStore
from tests.stores.contract.asking import take
from tests.stores.places import Place, connected, opener
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores import Inspects
    from tests.servers.databases import DatabaseServer
    from tests.servers.mariadb import MariaServer
    from tests.servers.postgres import PostgresServer

#: 125 processes that connect at once to a busy machine take their time.
PATIENT = "?timeout=20&connect_timeout=20"
#: Where a test waits for a timeout it need not be the default one.
QUICK = "?timeout=0.5&idle_timeout=2"


class Database(ABC):
    """One database of a server, used by the locks alone."""

    #: What is in a request of each verb, and in no other.
    take: ClassVar[bytes]
    still: ClassVar[bytes]
    give_back: ClassVar[bytes]
    kind: ClassVar[str]
    #: Asks for the sessions in a database of that name.
    listing: ClassVar[str]

    def __init__(self, server: DatabaseServer, url: str) -> None:
        self.server = server
        self.name = url.rpartition("/")[2]
        self.url = url.replace("://", f"+{self.kind}://")

    def sessions(self) -> list[int]:
        """The sessions that are open in it."""
        return [number for (number,) in self.server.ask(self.listing.format(self.name))]

    @abstractmethod
    def is_quiet(self) -> bool:
        """Whether no lock is left in it."""

    @abstractmethod
    def end_sessions(self) -> None:
        """End them, as whoever looks after the server does."""


class AdvisoryDatabase(Database):
    """A database of a Postgres."""

    take, still, give_back = b"celery_locks_take", b"celery_locks_still", b"celery_locks_give_back"
    kind = "advisory"
    listing = "SELECT pid FROM pg_stat_activity WHERE datname = '{}'"

    def is_quiet(self) -> bool:
        # A pooler keeps sessions open that nobody uses.
        return not self.server.ask("SELECT FROM pg_locks WHERE locktype = 'advisory'")

    def end_sessions(self) -> None:
        self.server.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'")


class GetLockDatabase(Database):
    """A database of a MariaDB, reached without TLS: PyMySQL reads all certificates of a machine first."""

    take, still, give_back = b"SET @celery_locks", b"WHERE name IN", b", RELEASE_LOCK"
    kind = "getlock"
    listing = "SELECT id FROM information_schema.processlist WHERE db = '{}'"

    def is_quiet(self) -> bool:
        return not self.sessions()

    def end_sessions(self) -> None:
        for number in self.sessions():
            self.server.ask(f"KILL {number}")


@pytest.fixture(scope="module")
def _advisory_database(postgres_server: PostgresServer) -> Iterator[Database]:
    with postgres_server.database() as url:
        yield AdvisoryDatabase(postgres_server, url)


@pytest.fixture(scope="module")
def _getlock_database(mariadb_server: MariaServer) -> Iterator[Database]:
    with mariadb_server.database() as url:
        yield GetLockDatabase(mariadb_server, url)


@pytest.fixture
def advisory_database(_advisory_database: Database) -> Database:
    return _quiet(_advisory_database)


@pytest.fixture
def getlock_database(_getlock_database: Database) -> Database:
    return _quiet(_getlock_database)


@pytest.fixture(params=["advisory", "getlock"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each of them."""
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


def _quiet(database: Database) -> Database:
    """No lock of the test before is left in it."""
    wait_until(database.is_quiet, "the locks of the test before to end", 30)
    return database


def without_tls(url: str) -> str:
    """The same, with no time spent on certificates."""
    query = "&ssl_disabled=true" if "?" in url else "?ssl_disabled=true"
    return url + (query if url.startswith("mysql") else "")


opened = opener(SessionStore, without_tls)


def place_of(database: Database) -> Place:
    """Its ready client holds the key `held`."""
    return connected(database.url, opened, QUICK, "held")


def keepers() -> list[threading.Thread]:
    """The threads that ping. One whose start was interrupted is listed, too, and does nothing."""
    return [each for each in threading.enumerate() if each.name == "celery_locks-session" and each.is_alive()]


def room_of(store: SessionStore):
    """What this process has in the store."""
    return store._rooms[os.getpid()]


def session_of(store: SessionStore):
    """Its session, for a test that speaks in it past the verbs, and so has the whole timeout for each request."""
    session = room_of(store).session
    session.until = None
    return session


def rows(database: Database) -> int:
    """How many its table has."""
    name = database.url.rpartition("/")[2]
    return int(database.server.ask("SELECT count(*) FROM celery_locks_sessions", name)[0][0])


def empty(database: Database) -> None:
    """Leave it its table, without a row."""
    with opened(database.url) as store:
        take(store, "any")
    wait_until(database.is_quiet, "the lock to end")
    database.server.ask("DELETE FROM celery_locks_sessions", database.url.rpartition("/")[2])


def outage(store: Inspects) -> str:
    """What a store says that cannot be asked; nothing where it can. A server that is paused may go on for a moment."""
    try:
        store.inspect("nothing")
    except StoreUnavailable as unavailable:
        return str(unavailable)
    return ""
