"""What a database remembers of conflicts: of the keys with the most, and never more than so many."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores.sql import conflicts
from tests.commands import celery_locks
from tests.stores.contract.asking import claim, take
from tests.stores.sql_stores import ask, before_each, conflict, counts, empty_database, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_locks.stores.sql import SqlStore


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    return empty_database(request, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with opened(url) as store:
        yield store


def test_who_finds_a_key_free_asks_and_writes_nothing_for_it(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many statements as ever, and none about conflicts."""
    # A first release removes rows that nobody uses.
    for owner in ("first", "second"):
        take(store, "wallet", owner)
        assert store.release(claim("wallet", owner))
    said: list[str] = []
    before_each(store, monkeypatch, said.append)
    take(store, "wallet", "third")
    assert store.release(claim("wallet", "third"))
    assert not [words for words in said if "celery_locks_conflicts" in words]
    assert (len(said), store.most_contended(), store.conflicts("wallet")) == (2, [], [])


@pytest.mark.parametrize("key", ["wallet", "wal\0le\\t \n", "größe 🔑"])
def test_a_conflict_is_counted_once(store: SqlStore, key: str) -> None:
    """However often the one that waits asks again; with who asked, who had it, and for how long."""
    take(store, key, "holder\n\0")
    for asker in ("ann", "ben", "ann", "ann"):
        conflict(store, key, asker)
    assert counts(store) == {key: 2}
    latest, other = store.conflicts(key)
    assert (latest.asker, other.asker, latest.holder) == ("ben", "ann", "holder\n\0")
    assert 0 <= other.age <= latest.age < 60
    assert store.time() - 60 < other.when <= latest.when <= store.time()


def test_those_who_never_come_back_are_forgotten(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers so many whom it need not count again, and no more."""
    monkeypatch.setattr(conflicts, "_ASKERS", 2)
    take(store, "wallet", "holder")
    for asker in ("ann", "ben", "cleo", "cleo", "ann"):
        conflict(store, "wallet", asker)
    assert (counts(store), len(store._refusals)) == ({"wallet": 4}, 2)


def test_the_longest_hold_that_was_seen(store: SqlStore) -> None:
    """Not the last one."""
    take(store, "wallet", "holder")
    ask(store, "UPDATE {table} SET fence = fence - 90000000")
    conflict(store, "wallet", "ann")
    assert store.release(claim("wallet", "holder"))
    take(store, "wallet", "other")
    conflict(store, "wallet", "ben")
    [tally] = store.most_contended()
    assert 90 <= tally.held < 150


def test_the_wait_of_one_that_gets_the_key_is_added(store: SqlStore) -> None:
    """From when it first found it taken; of one that did not wait nothing is."""
    take(store, "wallet", "holder")
    conflict(store, "wallet", "ann")
    began = time.monotonic()
    store._refusals["wallet", "ann"] -= 90
    assert store.release(claim("wallet", "holder"))
    take(store, "wallet", "ann")
    [tally] = store.most_contended()
    assert 90 <= tally.waited < 91 + time.monotonic() - began
    assert store.release(claim("wallet", "ann"))
    take(store, "wallet", "ben")
    assert [tally] == store.most_contended()


def test_no_more_than_so_many_keys_are_remembered(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one with the fewest makes room, with all that is known of it; one that becomes hot gets in."""
    monkeypatch.setattr(conflicts, "MOST_CONTENDED", 3)
    for key, times in (("a", 12), ("b", 3), ("c", 1), ("d", 4), ("e", 1)):
        take(store, key, "holder")
        for number in range(times):
            conflict(store, key, f"asker {number}")
    # d took the place of c with its 1, and e that of b with its 3.
    assert counts(store) == {"a": 12, "d": 5, "e": 4}
    assert [each.asker for each in store.conflicts("a")] == [f"asker {number}" for number in range(11, 1, -1)]
    assert store.conflicts("b") == store.conflicts("c") == []
    assert [tally.key for tally in store.most_contended(2)] == ["a", "d"]


def test_many_that_are_refused_at_once(url: str, store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told so, none is given up for it, and the table has no more rows than may come at one moment."""
    monkeypatch.setattr(conflicts, "MOST_CONTENDED", 5)
    keys = [f"key {number}" for number in range(12)]
    for key in ("hot", *keys):
        take(store, key, "holder")

    def ask_for_all(asker: int) -> bool:
        with opened(url) as mine:
            for number, key in enumerate(keys):
                conflict(mine, key, f"asker {asker}")
                conflict(mine, "hot", f"asker {asker} {number}")
            return mine._silent_until < mine.clock()

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask_for_all, range(4)))
    found = counts(store)
    assert len(found) <= 5 + 4
    assert found["hot"] == max(found.values()) >= 48


def test_the_text_of_a_row_does_not_grow(store: SqlStore) -> None:
    """However long the names are: what is cut off is no conflict."""
    take(store, "wallet", "holder")
    for number in range(5):
        conflict(store, "wallet", f"{number}{'x' * 3000}")
    assert [each.asker[0] for each in store.conflicts("wallet")] == ["4", "3"]


def test_what_is_remembered_ends(store: SqlStore) -> None:
    """A week after the last conflict; and its row goes when another key comes."""
    take(store, "wallet", "holder")
    conflict(store, "wallet")
    assert ask(store, "UPDATE {conflicts} SET seen_at = seen_at - 604800000000") == 1
    assert (store.most_contended(), store.conflicts("wallet")) == ([], [])
    conflict(store, "wallet", "later")
    assert (counts(store), len(store.conflicts("wallet"))) == ({"wallet": 1}, 1)
    assert ask(store, "UPDATE {conflicts} SET seen_at = seen_at - 604800000000") == 1
    take(store, "purse", "holder")
    conflict(store, "purse")
    assert ask(store, "DELETE FROM {conflicts} WHERE 1 = 1") == 1


def test_prefixes_are_kept_apart(url: str, store: SqlStore) -> None:
    """Two apps in one table see their own."""
    with opened(url, prefix="lock: ") as spaced, opened(url, prefix="bank:") as bank:
        for number, each in enumerate((store, spaced, bank), 1):
            take(each, "wallet", "holder")
            for asker in range(number):
                conflict(each, "wallet", f"asker {asker}")
        assert [counts(each) for each in (store, spaced, bank)] == [{"wallet": 1}, {"wallet": 2}, {"wallet": 3}]
        assert [tally.conflicts for tally in spaced.most_contended(1)] == [2]


def test_slots_are_counted_too(store: SqlStore) -> None:
    """A key that several may hold, and all of them do: for how long is not known."""
    for number in range(2):
        assert isinstance(store.acquire(Claim("room", f"owner {number}", 30.0, slots=2)), Lease)
    assert isinstance(store.acquire(Claim("room", "third", 30.0, slots=2)), Busy)
    conflict(store, "room", "alone")
    assert counts(store) == {"room": 2}
    assert [(each.asker, each.holder, each.age) for each in store.conflicts("room")] == [
        ("alone", "owner 0", None),
        ("third", "owner 0", None),
    ]


def test_one_that_waits_in_plain_code(url: str, store: SqlStore) -> None:
    """It is one conflict however often it looks, and its wait is what it took."""
    holder = claim("wallet", "holder")
    take(store, "wallet", "holder")
    locks = Locks(f"sql+{url}")
    waiting = threading.Thread(target=lambda: locks.lock("wallet", ttl=30).acquire(timeout=30))
    waiting.start()
    wait_until(lambda: counts(store) == {"wallet": 1}, "the conflict to be counted")
    since = time.monotonic()
    assert store.release(holder)
    waiting.join(30)
    wait_until(lambda: store.most_contended()[0].waited > 0, "the wait to be added")
    assert store.most_contended()[0].waited < 30 + time.monotonic() - since
    assert counts(store) == {"wallet": 1}
    locks.close()


def test_the_command_line_shows_them(url: str, store: SqlStore) -> None:
    """The most contended keys, and the latest conflicts of one; what is not remembered is a note."""
    url = f"sql+{url}"
    assert "no key is remembered" in celery_locks(url, "stats").err
    take(store, "wallet", "shop.pay[1]@web1:4711#0a")
    conflict(store, "wallet", "shop.pay[2]@web2:4711#0b")
    [said] = celery_locks(url, "stats", "--json").said
    assert (said["key"], said["conflicts"]) == ("wallet", 1)
    assert "shop.pay[2]@web2:4711" in celery_locks(url, "show", "wallet").out
