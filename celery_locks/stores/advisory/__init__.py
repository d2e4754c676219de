"""Postgres advisory locks: they live in a session, and end with it."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, cast

from celery_locks.stores.advisory.server import PostgresServer
from celery_locks.stores.advisory.waiter import Waiter
from celery_locks.stores.base import DEFAULT_PREFIX, Watches
from celery_locks.stores.naming import require_name
from celery_locks.stores.sessions import SessionStore, naming

if TYPE_CHECKING:
    from celery_locks.stores.advisory.wire import PostgresSession
    from celery_locks.stores.sessions import Server
    from celery_locks.stores.sessions.room import Room

__all__ = ["AdvisoryStore", "from_url"]


class AdvisoryStore(SessionStore, Watches):
    """Promises exclusion between all sessions of one database. A key is known by 64 bits of a digest of it.

    Two keys with the same 64 bits would exclude each other, and never the reverse. Among a million keys that are held
    at once the odds of any such pair are one in 37 million.
    """

    counts_as_one = True

    def __init__(self, server: Server, *, prefix: str = DEFAULT_PREFIX) -> None:
        super().__init__(server, prefix=prefix)

    def _name(self, key: str) -> bytes:
        return hashlib.blake2b(naming(self.prefix, key), digest_size=8, person=b"celery_locks").digest()

    def watch(self, key: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        with Waiter(self._name(require_name(key))) as waiter:
            session, reliable = self._do(_watching, waiter)
            until = min(until, time.monotonic() + reliable)
            while waiter.wait(session.fd, until) and not session.ended:
                self._do(_hear, session)


def _watching(room: Room, waiter: Waiter) -> tuple[PostgresSession, float]:
    session = cast("PostgresSession", room.settled())
    return session, session.watch(waiter)


def _hear(room: Room, session: PostgresSession) -> None:
    if room.session is session:
        session.hear()


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> AdvisoryStore:
    """A store for postgresql+advisory://[user:password@]host:5432/database, with libpq's options as a query."""
    return AdvisoryStore(PostgresServer.from_url(url, options), prefix=prefix)
