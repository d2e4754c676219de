"""Take a free key and give it back in a table: two round trips, and what is paid beyond the statements."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from benchmarks.uncontended import TTL, reused, the_store
from celery_locks import Locks
from celery_locks.lease import Claim, new_owner
from celery_locks.stores.sql import SqlStore
from celery_locks.stores.sql.window import NEVER
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer
from tests.servers.programs import INITDB, MARIADB, MARIADB_INSTALL, POSTGRES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Subject = Callable[[], object]

NO_TLS = "?ssl_disabled=true"
#: A row remembers the last 16 that are done with it, and gives them nothing more.
_OWNERS = 64


class _Bare(NamedTuple):
    """The smallest statements that lock and unlock safely, with a fence, and the table they are for."""

    table: str
    take: str
    give_back: str


_BARE = {
    "Postgres": _Bare(
        "CREATE TABLE bare (name TEXT PRIMARY KEY, owner TEXT, fence BIGINT NOT NULL, until TIMESTAMPTZ NOT NULL)"
        " WITH (fillfactor = 50)",
        "INSERT INTO bare AS held VALUES (%(name)s, %(owner)s, 1, clock_timestamp() + interval '30 seconds')"
        " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, fence = held.fence + 1, until = excluded.until"
        " WHERE held.until <= clock_timestamp() RETURNING fence",
        "UPDATE bare SET until = clock_timestamp() WHERE name = %(name)s AND owner = %(owner)s",
    ),
    "MariaDB": _Bare(
        "CREATE TABLE bare (name VARCHAR(200) PRIMARY KEY, owner TEXT, fence BIGINT NOT NULL,"
        " until DATETIME(6) NOT NULL)",
        "INSERT INTO bare VALUES (%(name)s, %(owner)s, 1, SYSDATE(6) + INTERVAL 30 SECOND) ON DUPLICATE KEY UPDATE"
        " owner = IF(until <= SYSDATE(6), VALUES(owner), owner), fence = IF(owner = VALUES(owner), LAST_INSERT_ID("
        "fence + 1), fence), until = IF(owner = VALUES(owner), VALUES(until), until)",
        "UPDATE bare SET until = SYSDATE(6) WHERE name = %(name)s AND owner = %(owner)s",
    ),
    "SQLite": _Bare(
        "CREATE TABLE bare (name TEXT PRIMARY KEY, owner TEXT, fence INTEGER NOT NULL, until REAL NOT NULL)",
        "INSERT INTO bare AS held VALUES (:name, :owner, 1, julianday('now', '+30 seconds'))"
        " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, fence = held.fence + 1, until = excluded.until"
        " WHERE held.until <= julianday('now') RETURNING fence",
        "UPDATE bare SET until = julianday('now') WHERE name = :name AND owner = :owner",
    ),
}


def run(_url: str, *, quick: bool) -> Part:
    """Each database in turn; those that are not installed are left out."""
    figures: list[Figure] = []
    remarks = []
    for name, bare in _BARE.items():
        with database(name) as url:
            if url is None:
                remarks.append(f"{name} is not installed and was left out")
            else:
                figures += _figures(name, _times(url, bare, quick=quick))
    return Part("sql", "acquire + release of a free key in a table", figures, remarks)


def _times(url: str, bare: _Bare, *, quick: bool) -> Rounds:
    locks = Locks(url)
    connection = _connection(url)
    subjects = {
        "smallest": _both(connection, bare),
        "bare": _ours(connection, locks),
        "store": the_store(locks),
        "lock": reused(locks.lock("reused", ttl=TTL)),
    }
    times = Rounds.timed(subjects, rounds=5 if quick else 200, calls=5 if quick else 25)
    connection.close()
    locks.close()
    return times


def _figures(name: str, times: Rounds) -> list[Figure]:
    return [
        Figure.of(f"{name}: our statements, bare", times.micros("bare"), "µs"),
        Figure.of(f"{name}: the store / our statements", times.ratio("store", "bare"), target=AtMost(1.2)),
        Figure.of(f"{name}: Lock / our statements", times.ratio("lock", "bare"), target=AtMost(1.2)),
        Figure.of(f"{name}: our statements / smallest", times.ratio("bare", "smallest")),
    ]


def _connection(url: str) -> Any:
    """The driver's own, set as the store sets its own."""
    store = _sql(Locks(url))
    store.create_table()
    return store._database._opener.connection()  # noqa: SLF001 - the bare client is to have the same settings


def _both(connection: Any, bare: _Bare) -> Subject:
    cursor = connection.cursor()
    cursor.execute(bare.table)
    named = itertools.cycle([{"name": "wallet:42", "owner": new_owner()} for _ in range(_OWNERS)])
    return _said(connection, ([(bare.take, each), (bare.give_back, each)] for each in named))


def _ours(connection: Any, locks: Locks) -> Subject:
    """The statements that the store sends, by the bare driver. What they carry is made before the time is taken."""
    store = _sql(locks)
    said = store._database.statements  # noqa: SLF001 - the same statements
    claims = [Claim("ours", new_owner(), TTL) for _ in range(_OWNERS)]
    rows = [store._row(claim) | {"latest": NEVER} for claim in claims]  # noqa: SLF001 - and parameters
    each = [[(each.words, each.arguments(row)) for each in (said.acquire, said.release)] for row in rows]
    return _said(connection, itertools.cycle(each))


def _said(connection: Any, pairs: Iterator[list[tuple[str, Any]]]) -> Subject:
    def both() -> None:
        for words, arguments in next(pairs):
            cursor = connection.cursor()
            cursor.execute(words, arguments)
            if cursor.description:
                if not cursor.fetchall():
                    raise RuntimeError("the bare lock was not free")
            elif cursor.rowcount < 1:
                raise RuntimeError("the bare lock was not ours")
            cursor.close()

    return both


def _sql(locks: Locks) -> SqlStore:
    if not isinstance(locks.store, SqlStore):
        raise TypeError("the URL is of another store")
    return locks.store


@contextlib.contextmanager
def database(name: str) -> Iterator[str | None]:
    """A new, empty database, and its URL as a store."""
    programs = {"Postgres": (POSTGRES, INITDB), "MariaDB": (MARIADB, MARIADB_INSTALL)}.get(name, ())
    if not all(program.find() for program in programs):
        yield None
    elif name == "SQLite":
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
            yield f"sql+sqlite:///{directory}/locks.db"
    else:
        kind = PostgresServer if name == "Postgres" else MariaServer
        with kind() as server, server.database() as url:
            yield f"sql+{url}{NO_TLS if name == 'MariaDB' else ''}"
