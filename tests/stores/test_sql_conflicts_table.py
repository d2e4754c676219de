"""The table in which a database remembers conflicts: locks do without it, and nobody asks for it for ever."""

from __future__ import annotations

import contextlib
import itertools
import logging
from typing import TYPE_CHECKING

import pytest

from celery_locks import StoreUnavailable
from celery_locks.cli.exits import Unreached
from tests.commands import celery_locks
from tests.stores.contract.asking import claim, take
from tests.stores.sql_stores import SERVERS, ask, before_each, conflict, counts, empty_database, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_locks.stores.sql import SqlStore
    from tests.stores.sql_stores import Served


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    return empty_database(request, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with opened(url) as store:
        yield store


def test_a_table_that_is_missing_is_made(store: SqlStore) -> None:
    """By the first conflict, beside a table of locks that an older version made."""
    take(store, "wallet", "holder")
    ask(store, "DROP TABLE {conflicts}")
    conflict(store, "wallet")
    assert counts(store) == {"wallet": 1}


def test_what_is_remembered_no_more_is_purged(url: str, store: SqlStore) -> None:
    """A week after the last conflict, whatever the prefix; the others stay. A purge bears that there is no table."""
    for key in ("wallet", "purse"):
        take(store, key, "holder")
        conflict(store, key)
    with opened(url, prefix="gone:") as gone:
        take(gone, "wallet", "holder")
        conflict(gone, "wallet")
    old = "UPDATE {conflicts} SET seen_at = seen_at - 604800000000 WHERE prefix = 'gone:' OR name = 'purse'"
    assert ask(store, old) == 2
    [purged] = celery_locks(f"sql+{url}", "purge", "--json").said
    assert (purged["purged"], counts(store)) == (2, {"wallet": 1})
    ask(store, "DROP TABLE {conflicts}")
    ask(store, "CREATE TABLE {conflicts} (mine INTEGER)")
    assert store.purge() == 0


@SERVERS
def test_a_table_that_may_not_be_made_is_tried_ever_less(
    server: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a minute, two, four and so on up to an hour, with one line in the log.

    To make it is tried once, also where a live view asks for it each time. It is used as soon as it is looked for after
    somebody has made it.
    """
    caplog.set_level(logging.INFO, "celery_locks")
    with clerk(server) as url, opened(url) as store:
        said: list[str] = []
        before_each(store, monkeypatch, said.append)
        now, tried = 1000.0, []
        monkeypatch.setattr(store, "clock", lambda: now)
        take(store, "wallet", "holder", ttl=600)
        for minute in range(184):
            now += 60.0
            before = len(said)
            conflict(store, "wallet", f"asker {minute}")
            if any("celery_locks_conflicts" in words for words in said[before:]):
                tried.append(minute)
            with pytest.raises(StoreUnavailable):
                store.most_contended()
        assert [later - earlier for earlier, later in itertools.pairwise(tried)] == [1, 2, 4, 8, 16, 32, 60, 60]
        assert len([words for words in said if "CREATE TABLE" in words and "celery_locks_conflicts" in words]) == 1
        [line] = [record.getMessage() for record in caplog.records]
        assert line.startswith("conflicts are not remembered")
        with opened(server.url) as owner:
            owner.create_table()
            now += 3600.0
            conflict(store, "wallet", "later")
            assert counts(owner) == {"wallet": 1}


@contextlib.contextmanager
def clerk(server: Served) -> Iterator[str]:
    """The URL of one who may use the table of locks, and make none; there is none of conflicts."""
    with opened(server.url) as owner:
        owner.create_table()
        ask(owner, "DROP TABLE {conflicts}")
    if server.url.startswith("postgresql"):
        server.ask("CREATE ROLE clerk LOGIN")
        server.ask("GRANT SELECT, INSERT, UPDATE, DELETE ON celery_locks TO clerk")
        server.ask("ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO clerk")
        end = ["DROP OWNED BY clerk", "DROP ROLE clerk"]
    else:
        server.ask("CREATE USER clerk@'%'")
        server.ask(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {server.database}.* TO clerk@'%'")
        end = ["DROP USER clerk@'%'"]
    try:
        yield server.url.replace("postgres@", "clerk@").replace("root@", "clerk@")
    finally:
        for statement in end:
            server.ask(statement)


def test_something_else_under_its_name_does_no_harm(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is as ever, and nothing more is tried for a while."""
    take(store, "wallet", "holder")
    ask(store, "DROP TABLE {conflicts}")
    ask(store, "CREATE TABLE {conflicts} (mine INTEGER)")
    conflict(store, "wallet", "ann")
    said: list[str] = []
    before_each(store, monkeypatch, said.append)
    conflict(store, "wallet", "ben")
    assert not [words for words in said if "celery_locks_conflicts" in words]
    assert store.release(claim("wallet", "holder"))
    take(store, "wallet", "ann")


def test_locks_are_shown_where_no_conflicts_can_be(url: str, store: SqlStore) -> None:
    """By whoever may not make the second table, or finds something else under its name; `stats` and `init` say it."""
    url = f"sql+{url}"
    take(store, "wallet", "holder")
    ask(store, "DROP TABLE {conflicts}")
    ask(store, "CREATE TABLE {conflicts} (mine INTEGER)")
    shown = celery_locks(url, "show", "wallet")
    assert (shown.code, "holder" in shown.out, "not known" in shown.out) == (0, True, True)
    assert [line["owner"] for line in celery_locks(url, "top", "--once", "--json").said] == ["holder"]
    assert celery_locks(url, "stats").code == Unreached.exit_code
    made = celery_locks(url, "init")
    assert (made.code, "no conflicts are remembered" in made.err) == (0, True)
