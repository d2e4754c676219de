"""MySQL's and MariaDB's GET_LOCK: its locks live in a session, and end with it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from celery_locks.stores.base import DEFAULT_PREFIX
from celery_locks.stores.getlock.server import MySQLServer
from celery_locks.stores.sessions import SessionStore, naming

__all__ = ["GetLockStore", "from_url"]

if TYPE_CHECKING:
    from celery_locks.stores.getlock.server import MySQLServer as Server


class GetLockStore(SessionStore):
    """Promises exclusion between all sessions of one server that name the same database.

    GET_LOCK's names are for the whole server and may have 64 characters: a digest of database, prefix and key is used.
    """

    fence_is_time = True

    def __init__(self, server: Server, *, prefix: str = DEFAULT_PREFIX) -> None:
        super().__init__(server, prefix=prefix)
        # Some servers do not tell capitals from small letters in a database's name.
        self._space = f"{len(server.database)}:{server.database.lower()}".encode()

    def _name(self, key: str) -> bytes:
        return hashlib.blake2b(self._space + naming(self.prefix, key), digest_size=20, person=b"celery_locks").digest()


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> GetLockStore:
    """A store for mysql+getlock:// or mariadb+getlock://[user:password@]host:3306/database."""
    return GetLockStore(MySQLServer.from_url(url, options), prefix=prefix)
