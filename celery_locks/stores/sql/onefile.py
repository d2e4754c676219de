"""A connection to a file of SQLite that the collector cannot close while a process forks."""

from __future__ import annotations

import sqlite3

from celery_locks.stores.sql.wire import abandon


class Connection(sqlite3.Connection):
    """Closed by its wire; where an interrupt or a dropped store left it to nobody, under the same mutex as the rest."""

    def __del__(self) -> None:
        abandon(self)
