"""From an address to connections: which database, which driver, and how long each may wait."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import math
import os
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy.pool import NullPool

from celery_locks.errors import LockConfigError
from celery_locks.stores.schemes import lacking
from celery_locks.stores.sql.mysql import MYSQL
from celery_locks.stores.sql.upserts import POSTGRES, SQLITE
from celery_locks.stores.sql.wire import OneFile, Pooled, Wire

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect, Engine

    from celery_locks.stores.sql.address import Address
    from celery_locks.stores.sql.statements import Tongue

TONGUES = {"postgresql": POSTGRES, "sqlite": SQLITE, "mysql": MYSQL, "mariadb": MYSQL}
_EXTRAS = {"psycopg": "postgresql", "pymysql": "mysql"}
#: Drivers, in the order in which they are taken when a URL names none: first those whose every wait has a bound.
_DRIVERS = {
    "postgresql": {"psycopg": "postgresql+psycopg", "psycopg2": "postgresql+psycopg2"},
    "mysql": {"pymysql": "mysql+pymysql", "MySQLdb": "mysql+mysqldb"},
    "mariadb": {"pymysql": "mariadb+pymysql", "MySQLdb": "mariadb+mysqldb"},
}
_OLDEST_SQLITE = (3, 35)
_LAST_PORT = 65535


class Opener:
    """Makes connections. Each statement on them is committed by itself."""

    def __init__(self, address: Address, options: dict[str, Any]) -> None:
        self._address, self._options = address, options
        self._engine = self._made()
        self._pid = os.getpid()

    @property
    def dialect(self) -> Dialect:
        """How SQLAlchemy speaks to this database."""
        return self._engine.dialect

    @property
    def tongue(self) -> Tongue:
        """How we do."""
        return TONGUES[self.dialect.name]

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What a driver raises, and SQLAlchemy for it."""
        return self.dialect.loaded_dbapi.Error, sqlalchemy.exc.SQLAlchemyError, OSError

    def wire(self) -> Wire:
        """The way to the database, not yet connected."""
        kind = OneFile if self.dialect.name == "sqlite" else Pooled
        return kind(self.connection, self.errors)

    def connection(self) -> Any:
        """A new connection of the driver's own."""
        if self._pid != os.getpid():
            # Another thread of the parent may have held its locks when we were forked.
            self._engine, self._pid = self._made(), os.getpid()
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        try:
            self._greet(connection)
        except BaseException:
            # The collector would close it too, at any time and in any thread.
            with contextlib.suppress(Exception):
                connection.close()
            raise
        return connection

    def _greet(self, connection: Any) -> None:
        cursor = connection.cursor()
        try:
            for words in self.tongue.greeting:
                cursor.execute(words)
            if self.dialect.name == "sqlite" and cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                # A power cut may undo the last locks, whose holders it has ended as well.
                cursor.execute("PRAGMA synchronous = NORMAL")
        finally:
            # First: what a cursor has not given back keeps a closed file of SQLite open.
            cursor.close()

    def _made(self) -> Engine:
        address = self._address
        url = address.url.set(drivername=_driver(address.url.drivername))
        try:
            dialect = url.get_dialect()
            self._refuse(dialect)
            own = {"connect_args": _bounds(dialect, address.timeout) | dict(self._options.get("connect_args", {}))}
            engine = sqlalchemy.create_engine(
                url, **{**self._options, **own}, poolclass=NullPool, isolation_level="AUTOCOMMIT"
            )
        except ImportError as error:
            driver = error.name or url.get_driver_name()
            hint = f"pip install 'celery-locks[{_EXTRAS[driver]}]'" if driver in _EXTRAS else f"pip install {driver}"
            raise LockConfigError(f"{address.shown!r} needs {lacking(error, driver)}: {hint}") from None
        except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.InvalidRequestError, TypeError, ValueError) as error:
            raise LockConfigError(f"{address.shown!r} has a setting that SQLAlchemy cannot take: {error}") from None
        _refuse_options(engine, address.shown)
        if dialect.driver == "psycopg":
            sqlalchemy.event.listen(engine, "do_connect", self._bounded)
        return engine

    def _refuse(self, dialect: type[Dialect]) -> None:
        address = self._address
        if dialect.name not in TONGUES:
            raise LockConfigError(
                f"{address.shown!r}: the locks speak with PostgreSQL, MariaDB, MySQL and SQLite, not {dialect.name}"
            )
        if dialect.is_async:
            raise LockConfigError(f"{address.shown!r}: {dialect.driver} is for asyncio: name another driver")
        if dialect.name == "sqlite" and address.url.database in {None, "", ":memory:"}:
            raise LockConfigError(f"{address.shown!r}: locks in memory are memory://; else name a file")
        if dialect.name in ("mysql", "mariadb") and not (address.url.database or address.url.query or self._options):
            raise LockConfigError(f"{address.shown!r} names no database: write it after the host, as in host/database")
        if not 0 < (address.url.port or 1) <= _LAST_PORT:
            raise LockConfigError(f"{address.shown!r}: the port must be a number from 1 to {_LAST_PORT}")
        if dialect.name == "sqlite" and sqlite_version() < _OLDEST_SQLITE:
            raise LockConfigError(f"{address.shown!r} needs SQLite 3.35 or later")

    def _bounded(self, _dialect: Dialect, _record: Any, words: list[Any], named: dict[str, Any]) -> Any:
        from celery_locks.stores.sql.bounded import patient  # noqa: PLC0415 - psycopg is there by now

        if isinstance(threshold := named.get("prepare_threshold"), str):
            # psycopg wants a number or None, and a URL has texts.
            named["prepare_threshold"] = int(threshold) if threshold.isdecimal() else None
        return patient(self._address.timeout).connect(*words, **named)


def sqlite_version() -> tuple[int, ...]:
    """The version of the library that Python brings."""
    import sqlite3  # noqa: PLC0415 - some Pythons have none

    return sqlite3.sqlite_version_info


def _driver(name: str) -> str:
    """The driver to use: the one that is named, or the first that is there."""
    known = _DRIVERS.get(name, {})
    there = (driver for module, driver in known.items() if importlib.util.find_spec(module))
    return next(there, next(iter(known.values()), name))


def _refuse_options(engine: Engine, shown: str) -> None:
    """Options that a driver does not know would be found only when it connects."""
    known = _known(engine.dialect)
    asked = engine.dialect.create_connect_args(engine.url)[1]
    if known and (unknown := sorted({*asked} - known)):
        raise LockConfigError(f"{shown!r} has an option that {engine.dialect.driver} does not know: {unknown[0]}")


def _known(dialect: Dialect) -> set[str]:
    """What this driver's connections may be told; nothing where it cannot be asked."""
    driver: Any = dialect.loaded_dbapi
    if dialect.driver == "psycopg":
        own = inspect.signature(driver.Connection.connect).parameters
        return {*own, *(option.keyword.decode() for option in driver.pq.Conninfo.get_defaults())}
    return {*inspect.signature(driver.Connection).parameters} if dialect.driver == "pymysql" else set()


def _bounds(dialect: type[Dialect], timeout: float) -> dict[str, Any]:
    """What makes a driver wait no longer than that."""
    if dialect.driver == "pysqlite":
        from celery_locks.stores.sql.onefile import Connection  # noqa: PLC0415 - some Pythons have no sqlite3

        return {"timeout": timeout, "check_same_thread": False, "factory": Connection}
    whole = max(1, math.ceil(timeout))
    bounds: dict[str, dict[str, Any]] = {
        "psycopg": {"connect_timeout": whole},
        "psycopg2": {"connect_timeout": whole, "tcp_user_timeout": whole * 1000},
        "pymysql": dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), timeout),
        "mysqldb": dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), whole),
    }
    return bounds.get(dialect.driver, {})
