"""Where a Postgres is, how a session with it is begun, and what to do when it is not had."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from celery_locks.errors import LockConfigError
from celery_locks.stores.advisory import pooler, statements
from celery_locks.stores.advisory.mending import ADVICE
from celery_locks.stores.advisory.wire import PostgresSession, Wire
from celery_locks.stores.mending import remedy
from celery_locks.stores.sessions import Broken, Refused, asked
from celery_locks.stores.sessions.session import opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.sessions import Times

FORM = "postgresql+advisory://[user:password@]host:5432/database"
#: The first version that ends the session of a client that was frozen.
OLDEST = 140000
MOST = 65535
_UNDEFINED = ("42P01", "42703")
_PLACE = ("host", "hostaddr", "port", "service")
_NUMBERS = {
    *("connect_timeout", "tcp_user_timeout"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
}


class PostgresServer:
    """One database. libpq tries several hosts in turn where its settings name them."""

    def __init__(self, name: str, times: Times, settings: dict[str, Any]) -> None:
        self.name = name
        self.times = times
        self._settings = settings

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> PostgresServer:
        """Take a URL apart. What libpq would not take is an error now."""
        place, name, found, patience = asked(url, options)
        try:
            settings = conninfo_to_dict(f"postgresql://{place.partition('://')[2]}?{urlencode(found, quote_via=quote)}")
        except psycopg.Error as error:
            raise LockConfigError(
                f"{name!r} is not a Postgres URL ({_said(error, place)}); write {FORM}, with the options of libpq as a"
                " query, and / ? # % and @ in a user name or password as %2F %3F %23 %25 and %40"
            ) from None
        if mistake := _mistake(settings, url.partition("?")[2]):
            raise LockConfigError(f"{name!r} is not a Postgres URL ({mistake}); write {FORM}")
        return cls(name, patience, {**_defaults(patience), **settings})

    def remedy(self, text: str) -> str:
        """What to do about an error with this text."""
        return remedy(ADVICE, text)

    def connect(self, clock: Callable[[], float]) -> PostgresSession:
        """A new session, with its statements prepared. A pooler that gives it to others between two is refused."""
        wire = self._wire(clock)
        try:
            pid = wire.backend_pid()
            if pid != wire.announced_pid:
                self._refuse_shared(wire, clock)
            self._check(wire.version)
            self._prepare(wire)
        except BaseException:
            wire.end()
            raise
        wire.pid = pid
        return wire

    def _check(self, version: int) -> None:
        if version < OLDEST:
            raise LockConfigError(f"{self.name}: Postgres 14 or newer is needed, this is {version // 10000}")

    def _wire(self, clock: Callable[[], float]) -> PostgresSession:
        with opening:
            try:
                connection = Wire.connect(make_conninfo("", **self._settings), autocommit=True)
            except psycopg.Error as error:
                raise Broken(str(error)) from error
            return PostgresSession(connection, self.times, clock)

    def _refuse_shared(self, wire: PostgresSession, clock: Callable[[], float]) -> None:
        second = self._wire(clock)
        try:
            if pooler.shares(wire, second):
                raise LockConfigError(f"{self.name}: {pooler.REFUSAL}")
        finally:
            second.end()

    def _prepare(self, wire: PostgresSession) -> None:
        begin = statements.begin(self.times.idle_timeout)
        try:
            wire.do(begin)
        except Refused as refused:
            if not refused.args[1:] or refused.args[1] not in _UNDEFINED:
                raise
            wire.do(statements.CREATE)
            wire.do(begin)


def _defaults(patience: Times) -> dict[str, Any]:
    # Three probes within the time after which the server is to take us for dead, and we it.
    apart = max(1, math.floor(patience.idle_timeout / 4))
    return {
        "connect_timeout": max(2, math.ceil(patience.timeout)),
        "fallback_application_name": "celery_locks",
        "keepalives_idle": apart,
        "keepalives_interval": apart,
        "keepalives_count": 3,
        "tcp_user_timeout": math.ceil(patience.idle_timeout * 1000),
        "client_encoding": "UTF8",
    }


def _mistake(settings: dict[str, Any], query: str) -> str | None:
    """What libpq and psycopg would find only when they connect."""
    if not all(port.isdecimal() and 0 < int(port) <= MOST for port in str(settings.get("port", "")).split(",") if port):
        return "the port is no number from 1 to 65535"
    for option in _NUMBERS & settings.keys():
        if not str(settings[option]).removeprefix("-").isdecimal():
            return f"{option} is no number"
    return _refusal(settings, query)


def _refusal(settings: dict[str, Any], query: str) -> str | None:
    """What libpq says of the values of its options: asked for a socket that cannot be there, it connects to nothing."""
    given = {option: value for option, value in settings.items() if option not in _PLACE}
    asked = pq.PGconn.connect_start(make_conninfo("", **{**given, "host": "/dev/null"}).encode())
    said = asked.error_message.decode(errors="replace")
    asked.finish()
    return _said(said, query) if said.startswith("invalid ") else None


def _said(error: psycopg.Error | str, part: str) -> str:
    # libpq quotes what it could not read, which may be a part of a password.
    return "it cannot be read" if "@" in part else " ".join(str(error).split())
