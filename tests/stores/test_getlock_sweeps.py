"""Which rows go from the table beside GET_LOCK, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.lease import Verdict
from celery_locks.stores.getlock import statements
from tests.stores.contract import take, verdict
from tests.stores.session_stores import empty, opened, rows
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.stores.session_stores import Database


def test_mariadb_forgets_keys_that_were_not_used_for_long(getlock_database: Database) -> None:
    """Their rows go when a process connects, but not while somebody holds them."""
    empty(getlock_database)
    name = getlock_database.url.rpartition("/")[2]
    with opened(getlock_database.url) as store:
        held = take(store, "held")
        for key in ("old", "young"):
            assert store.release(take(store, key).claim)
        days = 3 * 86_400_000_000
        where = f"lock_key IN ({statements.raw('held')}, {statements.raw('old')})"
        aged = f"fence = fence - {days}, used_hour = used_hour - 72"
        getlock_database.server.ask(f"UPDATE celery_locks_sessions SET {aged} WHERE {where}", name)
        assert rows(getlock_database) == 3
        with opened(getlock_database.url) as other:
            assert other.inspect("old") is None
        assert rows(getlock_database) == 2
        assert store.release(held.claim) is False  # its fence was changed under it
        take(store, "old", "ben")


def _old_rows(database: Database, many: int) -> None:
    """Rows of keys that were taken long ago."""
    numbers = f"WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < {many})"
    row = "LPAD(n, 40, '0'), 0, '', CONCAT('order:', n), 'anna', 1, 1, 0"
    statement = f"INSERT INTO celery_locks_sessions {numbers} SELECT {row} FROM seq"
    database.server.ask(statement, database.url.rpartition("/")[2])


def test_mariadb_forgets_old_keys_while_a_process_lives(getlock_database: Database) -> None:
    """However many there are: in small steps, one after another, and what is held meanwhile stays."""
    empty(getlock_database)
    with opened(getlock_database.url + "?idle_timeout=2") as store:
        held = take(store, "held")
        _old_rows(getlock_database, 5 * statements.SWEPT_AT_ONCE)
        wait_until(lambda: rows(getlock_database) == 1, "the old rows to go", 30)
        assert verdict(store, held) is Verdict.RENEWED


def test_a_process_that_connects_takes_away_a_few_rows(getlock_database: Database) -> None:
    """One step: a process that lives for one job only does its share, and no connection waits for a backlog."""
    empty(getlock_database)
    _old_rows(getlock_database, 5 * statements.SWEPT_AT_ONCE)
    with opened(getlock_database.url) as store:
        session = store._server.connect(store.clock)
        assert rows(getlock_database) == 4 * statements.SWEPT_AT_ONCE
        assert session.is_behind
        session.end()


def test_the_look_for_old_keys_reads_no_young_ones(getlock_database: Database) -> None:
    """It goes by an index: in a table full of keys that were used today it reads none of them."""
    empty(getlock_database)
    with opened(getlock_database.url) as store:
        for number in range(50):
            assert store.release(take(store, f"key {number}").claim)
        name = getlock_database.url.rpartition("/")[2]
        (plan,) = getlock_database.server.ask(f"EXPLAIN {statements.unused()}", name)
        assert "celery_locks_sessions_used_hour" in plan
        assert 1 in plan  # rows that it expects to read
