"""Rows in the table of locks: fences and times, what a key costs, and how few statements it takes."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.lease import Busy, Lease, Verdict
from celery_locks.stores import open_store
from tests.stores.contract import GivingUpContract
from tests.stores.contract.asking import claim, refused, run_out, take, verdict
from tests.stores.sql_stores import empty_database, give_up, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery_locks.stores.sql import SqlStore
    from tests.stores.contract import GivesUp

HOUR = 3_600_000_000
AHEAD = 1000 * HOUR


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    return empty_database(request, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with opened(url) as store:
        yield store


class TestSqlGivingUp(GivingUpContract):
    @pytest.fixture
    def give_up(self) -> GivesUp:
        return give_up


@pytest.fixture
def ask(url: str) -> Iterator[Callable[..., list[Any]]]:
    """Asks the database beside the store."""
    with opened(url) as helper:
        connection = helper._database._opener.connection()

        def asked(statement: str) -> list[Any]:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

        yield asked
        connection.close()


def test_a_fence_is_the_databases_time(store: SqlStore) -> None:
    """The first fence of a key is the database's clock in microseconds."""
    before = store._look({"digest": ""})[0]
    assert before <= take(store, "wallet").fence <= store._look({"digest": ""})[0]


def test_a_fence_grows_though_the_databases_clock_went_back(store: SqlStore, ask: Callable[..., list[Any]]) -> None:
    """A key whose last fence lies in the future gets the next number, across release and expiry."""
    far = take(store, "wallet").fence + AHEAD
    assert store.release(claim("wallet"))
    ask(f"UPDATE celery_locks SET fence = {far}")
    assert take(store, "wallet", "ben", ttl=0.1).fence == far + 1
    run_out(Lease(claim("wallet", "ben", 0.1), 1, time.monotonic()))
    assert take(store, "wallet", "cleo").fence == far + 2
    assert store.force_release("wallet")
    assert take(store, "wallet", "dora").fence == far + 3


def test_rows_are_purged_after_the_retention_in_small_steps(url: str, ask: Callable[..., list[Any]]) -> None:
    """Long after its last use a row goes, a hundred at a time; not one that is held, nor one with a fence ahead."""
    with contextlib.closing(open_store(f"sql+{url}?fence_retention=7200")) as store:
        for number in range(130):
            take(store, f"old {number}", ttl=0.1)
        take(store, "ahead")
        store.release(claim("ahead"))
        take(store, "held")
        ask(f"UPDATE celery_locks SET fence = fence + {AHEAD} WHERE name = 'ahead'")
        ask(f"UPDATE celery_locks SET expires_at = expires_at - {3 * HOUR}, expires_hour = expires_hour - 3,"
            f" fence = fence - {3 * HOUR} WHERE name <> 'held'")  # fmt: skip
        last = take(store, "last").fence
        left = []
        for _ in range(2):
            store._purge_at = 0.0
            store.release(claim("last"))
            left.append(ask("SELECT count(*) FROM celery_locks")[0][0])
        assert left == [133 - 100, 3]
        assert sorted(ask("SELECT name FROM celery_locks")) == [("ahead",), ("held",), ("last",)]
        # Not above it: SQLite counts milliseconds, and the other key was taken just now.
        assert take(store, "old 7").fence >= last


def test_a_purge_that_is_asked_for_takes_all_at_once(url: str, ask: Callable[..., list[Any]]) -> None:
    """However many rows were not used for long, and it says how many; what is held stays."""
    with contextlib.closing(open_store(f"sql+{url}?fence_retention=7200")) as store:
        take(store, "held")
        for number in range(130):
            take(store, f"old {number}", ttl=0.1)
        ask(f"UPDATE celery_locks SET expires_at = expires_at - {3 * HOUR}, expires_hour = expires_hour - 3,"
            f" fence = fence - {3 * HOUR} WHERE name <> 'held'")  # fmt: skip
        assert (store.purge(), store.purge()) == (130, 0)
        assert ask("SELECT name FROM celery_locks") == [("held",)]


def test_nothing_is_purged_before_its_retention(store: SqlStore, ask: Callable[..., list[Any]]) -> None:
    """What was used a day ago is kept, and so its fence."""
    take(store, "wallet", ttl=0.1)
    ask(f"UPDATE celery_locks SET expires_at = expires_at - {24 * HOUR}, expires_hour = expires_hour - 24,"
        f" fence = fence - {24 * HOUR}")  # fmt: skip
    store._purge_at = 0.0
    take(store, "other")
    store.release(claim("other"))
    assert len(ask("SELECT 1 FROM celery_locks")) == 2


def test_a_row_does_not_grow_with_its_use(store: SqlStore, ask: Callable[..., list[Any]]) -> None:
    """After many holders and many that gave up, a key is one row that remembers the last sixteen owners."""
    for number in range(40):
        take(store, "wallet", f"owner {number}")
        assert store.release(claim("wallet", f"owner {number}"))
        give_up(store, f"late {number}")
    assert ask("SELECT name, length(done) FROM celery_locks") == [("wallet", 16 * 32)]
    assert store.acquire(claim("wallet", "owner 39")) == Busy()
    assert store.acquire(claim("wallet", "late 32")) == Busy()
    take(store, "wallet", "owner 1")


def test_each_verb_is_one_statement(store: SqlStore, said: list[str]) -> None:
    """Once the table is there and the clock was read, acquire, renew and release take one round trip each."""
    take(store, "first")
    store.release(claim("first"))
    said.clear()
    lease = take(store, "wallet")
    assert len(said) == 1
    assert verdict(store, lease) is Verdict.RENEWED
    assert len(said) == 2
    assert store.release(lease.claim)
    assert len(said) == 3


def test_many_leases_are_renewed_in_one_statement(store: SqlStore, said: list[str]) -> None:
    """One statement carries 500 leases, each with its own ttl."""
    leases = [take(store, f"key {number}") for number in range(500)]
    for number, lease in enumerate(leases):
        lease.ttl = 60.0 + number
    said.clear()
    assert store.renew(leases) == [Verdict.RENEWED] * 500
    assert len(said) == 1
    for number in (0, 7, 499):
        assert refused(store, f"key {number}").remaining == pytest.approx(60 + number, abs=30)
    assert refused(store, "key 499").remaining > 400


def test_texts_that_a_database_takes_for_alike_are_different(store: SqlStore) -> None:
    """Spaces at the end, capitals, accents and characters that no text column holds keep keys and owners apart."""
    texts = ["a", "A", "a ", "a  ", "á", "a\u0301", "ß", "ss", "a\0", "a\\0", "a\\", "\\", "\0", "%", "_"]
    leases = [take(store, text, f"owner of {text}") for text in texts]
    assert store.renew(leases) == [Verdict.RENEWED] * len(texts)
    assert {holding.key: holding.owner for holding in store.list()} == {text: f"owner of {text}" for text in texts}
    for number, first in enumerate(texts):
        take(store, f"shared {number}", first)
        assert not any(store.release(claim(f"shared {number}", text)) for text in texts if text != first)
        assert store.release(claim(f"shared {number}", first))


def test_prefixes_that_a_database_takes_for_alike_are_different(url: str) -> None:
    """A list is of one prefix, also where another differs in spaces at the end or in capitals alone."""
    with opened(url, "lock") as one, opened(url, "lock ") as two, opened(url, "LOCK") as three:
        for number, store in enumerate((one, two, three)):
            take(store, "wallet", f"owner {number}")
        shown = [[each.owner for each in store.list()] for store in (one, two, three)]
        assert shown == [["owner 0"], ["owner 1"], ["owner 2"]]


def test_a_table_may_have_another_name(url: str, ask: Callable[..., list[Any]]) -> None:
    """Each table is a world of its own, made by the first verb or by the statements that are printed."""
    with opened(f"{url}?table=my_locks") as mine, opened(url) as other:
        for statement in mine.ddl().split(";\n")[:-1]:
            ask(statement)
        take(mine, "wallet")
        take(other, "wallet", "ben")
        assert ask("SELECT owner FROM my_locks") == [("anna",)]


def test_a_table_is_made_on_request(store: SqlStore, ask: Callable[..., list[Any]]) -> None:
    """As often as one likes: nothing is lost."""
    store.create_table()
    assert ask("SELECT count(*) FROM celery_locks") == [(0,)]
    take(store, "wallet")
    store.create_table()
    refused(store, "wallet")


def test_a_table_that_goes_is_made_again(store: SqlStore, ask: Callable[..., list[Any]]) -> None:
    """Its locks are gone with it: their holders learn of it."""
    lease = take(store, "wallet")
    ask("DROP TABLE celery_locks")
    assert verdict(store, lease) is Verdict.LOST
    take(store, "wallet", "ben")
