"""Take a free key and give it back in a database session: two round trips, and what is paid beyond the statements."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pymysql

from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from benchmarks.uncontended import TTL, reused, the_store
from celery_locks import Locks
from celery_locks.lease import Busy
from celery_locks.stores.sessions import Held, SessionStore
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer
from tests.servers.programs import INITDB, MARIADB, MARIADB_INSTALL, POSTGRES, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Subject = Callable[[], object]


class _Kind(NamedTuple):
    """A database, how a store's URL of it is made, and the smallest statements that lock, draw a fence and unlock."""

    server: type[PostgresServer | MariaServer]
    programs: tuple[Program, ...]
    scheme: tuple[str, str]
    options: str
    fences: list[str]
    take: list[str]
    give_back: str


_KINDS = {
    "Postgres": _Kind(
        PostgresServer,
        (POSTGRES, INITDB),
        ("postgresql:", "postgresql+advisory:"),
        "",
        ["CREATE SEQUENCE bare"],
        ["SELECT CASE WHEN pg_try_advisory_lock(42) THEN nextval('bare') END"],
        "SELECT pg_advisory_unlock(42)",
    ),
    "MariaDB": _Kind(
        MariaServer,
        (MARIADB, MARIADB_INSTALL),
        ("mysql:", "mysql+getlock:"),
        "?ssl_disabled=true",
        ["CREATE TABLE bare (fence BIGINT NOT NULL)", "INSERT INTO bare VALUES (1)"],
        ["SELECT GET_LOCK('bare', 0)", "UPDATE bare SET fence = LAST_INSERT_ID(fence + 1)"],
        "SELECT RELEASE_LOCK('bare')",
    ),
}


def run(_url: str, *, quick: bool) -> Part:
    """Each database in turn; those that are not installed are left out."""
    figures: list[Figure] = []
    remarks = []
    for name, kind in _KINDS.items():
        if all(program.find() for program in kind.programs):
            figures += _figures(name, _measured(kind, quick=quick))
        else:
            remarks.append(f"{name} is not installed and was left out")
    return Part("sessions", "acquire + release of a free key in a database session", figures, remarks)


def _measured(kind: _Kind, *, quick: bool) -> Rounds:
    with kind.server() as server, server.database() as url, contextlib.closing(_connected(url)) as connection:
        locks = Locks(url.replace(*kind.scheme) + kind.options)
        for statement in kind.fences:
            connection.cursor().execute(statement)
        subjects = {
            "lock alone": _bare(connection, [kind.take[0], kind.give_back]),
            "bare": _bare(connection, [*kind.take, kind.give_back]),
            "ours": _ours(locks),
            "store": the_store(locks),
            "lock": reused(locks.lock("reused", ttl=TTL)),
        }
        times = Rounds.timed(subjects, rounds=5 if quick else 200, calls=5 if quick else 25)
        locks.close()
        return times


def _figures(name: str, times: Rounds) -> Iterator[Figure]:
    yield Figure.of(f"{name}: lock, fence, unlock, bare", times.micros("bare"), "µs")
    yield Figure.of(f"{name}: the store / bare", times.ratio("store", "bare"), target=AtMost(1.2))
    yield Figure.of(f"{name}: Lock / bare", times.ratio("lock", "bare"))
    yield Figure.of(f"{name}: our statements / bare", times.ratio("ours", "bare"))
    yield Figure.of(f"{name}: the store / our statements", times.ratio("store", "ours"))
    if name == "MariaDB":
        yield Figure.of(f"{name}: the store / the lock without a fence", times.ratio("store", "lock alone"))


def _connected(url: str) -> Any:
    parts = urlsplit(url)
    if parts.scheme == "postgresql":
        return psycopg.connect(url, autocommit=True)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 0,
        user="root",
        database=parts.path[1:],
        autocommit=True,
        ssl_disabled=True,
    )


def _ours(locks: Locks) -> Subject:
    """The statements that the store sends, in a session that nobody else uses."""
    store = locks.store
    if not isinstance(store, SessionStore):
        raise TypeError("the URL is of another store")
    session = store._server.connect(time.monotonic)  # noqa: SLF001 - set as the store sets its own
    name = store._name("ours")  # noqa: SLF001 - as long as the store's

    def both() -> None:
        held = Held(name, "lock:", "ours", "anna")
        taken = session.take(held)
        if isinstance(taken, Busy):
            raise RuntimeError("the bare lock was not free")  # noqa: TRY004 - it is no mistake of a type
        held.note(taken)
        if not session.give_back(held):
            raise RuntimeError("the bare lock was not ours")

    return both


def _bare(connection: Any, statements: list[str]) -> Subject:
    def both() -> None:
        for statement in statements:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                if cursor.description and not cursor.fetchone()[0]:
                    raise RuntimeError(f"not so: {statement}")

    return both
