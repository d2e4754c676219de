"""Where a MySQL or MariaDB is, how a session with it is begun, and what to do when it is not had."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pymysql
from pymysql.constants import CLIENT

from celery_locks.errors import LockConfigError
from celery_locks.stores.getlock import statements
from celery_locks.stores.getlock.connection import Wire
from celery_locks.stores.getlock.mending import ADVICE
from celery_locks.stores.getlock.wire import MOVED, MySQLSession
from celery_locks.stores.mending import remedy
from celery_locks.stores.sessions import Broken, Refused, asked
from celery_locks.stores.sessions.session import opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.sessions import Times

FORM = "mysql+getlock://[user:password@]host:3306/database"
#: Before these, a session that takes a second lock loses its first.
_OLDEST = {"MySQL": (5, 7, 5), "MariaDB": (10, 0, 2)}
_NO_SUCH_TABLE = 1146
_FILES = {"ssl_ca", "ssl_cert", "ssl_key", "read_default_file"}
_TEXTS = {"unix_socket", "bind_address"} | _FILES
_QUESTIONS = {"ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"}
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class MySQLServer:
    """One database of one server."""

    def __init__(self, name: str, times: Times, settings: dict[str, Any]) -> None:
        self.name = name
        self.database = str(settings["database"])
        self.times = times
        self._settings = settings

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> MySQLServer:
        """Take a URL apart. What PyMySQL would not take is an error now."""
        place, name, found, patience = asked(url, options)
        settings = {**_address(name, place), **{option: _read(name, option, text) for option, text in found.items()}}
        return cls(name, patience, {**_defaults(patience), **settings})

    def remedy(self, text: str) -> str:
        """What to do about an error with this text."""
        return remedy(ADVICE, text)

    def connect(self, clock: Callable[[], float]) -> MySQLSession:
        """A new session. One that turns out to be another's at the next request is refused."""
        session = self._session(clock)
        try:
            self._begin(session)
        except BaseException:
            session.end()
            raise
        return session

    def _session(self, clock: Callable[[], float]) -> MySQLSession:
        with opening:
            try:
                wire = Wire(**self._settings)
            except (pymysql.Error, OSError, RuntimeError, ValueError) as error:
                raise Broken(_said(error)) from error
            return MySQLSession(wire, self.times, clock)

    def _begin(self, session: MySQLSession) -> None:
        session.id, version = session.identity()
        self._check(version)
        session.do(statements.begin(self.times.idle_timeout))
        self._sweep(session)
        if session.identity()[0] != session.id:
            raise LockConfigError(f"{self.name}: {MOVED}: name the server itself")

    def _sweep(self, session: MySQLSession) -> None:
        try:
            session.sweep()
        except Refused as refused:
            if refused.args[1] != _NO_SUCH_TABLE:
                raise
            session.do(statements.CREATE)

    def _check(self, version: str) -> None:
        kind = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        # MariaDB may say 5.5.5-10.11.19-MariaDB.
        number = re.search(r"(\d+)\.(\d+)\.(\d+)", version.removeprefix("5.5.5-"))
        if number and tuple(map(int, number.groups())) < _OLDEST[kind]:
            oldest = ".".join(map(str, _OLDEST[kind]))
            raise LockConfigError(f"{self.name}: {kind} {oldest} or newer is needed, this is {version}")


def _defaults(patience: Times) -> dict[str, Any]:
    return {
        "connect_timeout": max(1, math.ceil(patience.timeout)),
        "read_timeout": max(1, math.ceil(patience.timeout)),
        "write_timeout": max(1, math.ceil(patience.timeout)),
        "autocommit": True,
        "charset": "utf8mb4",
        # What does not fit must not be cut off.
        "sql_mode": "STRICT_ALL_TABLES",
        "client_flag": CLIENT.MULTI_STATEMENTS,
        "program_name": "celery_locks",
    }


def _address(name: str, place: str) -> dict[str, Any]:
    try:
        parts = urlsplit(f"//{place.partition('://')[2]}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit("//"), None
    database = unquote(parts.path.strip("/"))
    if not database or "/" in database:
        raise LockConfigError(
            f"{name!r} names no database: write {FORM}, and / ? # % and @ in a user name or password as"
            " %2F %3F %23 %25 and %40"
        )
    if port == 0 or {",", " "} & {*(parts.hostname or "")}:
        raise LockConfigError(f"{name!r} must name one host, and a port from 1 up if any: write {FORM}")
    login = {"user": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    given = {key: value for key, value in login.items() if value}
    return {"host": parts.hostname or "localhost", "port": port or 3306, "database": database, **given}


def _read(name: str, option: str, value: Any) -> Any:
    if option in _FILES and not os.path.exists(str(value)):  # noqa: PTH110 - as PyMySQL opens it
        raise LockConfigError(f"{name!r}: {option}: there is no file {value}")
    if option in _TEXTS:
        return str(value)
    if option in _QUESTIONS and str(value).lower() in _YES + _NO:
        return str(value).lower() in _YES
    if option == "connect_timeout" and str(value).isdecimal() and int(value) > 0:
        return int(value)
    known = ", ".join(sorted({"timeout", "idle_timeout", "connect_timeout"} | _TEXTS | _QUESTIONS))
    raise LockConfigError(f"{name!r} has an option that cannot be used, {option}={value!r}; known are {known}")


def _said(error: Exception) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)
