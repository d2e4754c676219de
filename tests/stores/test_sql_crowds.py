"""Several holders of a key in a table: who is faster between a look and a write, what it costs, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from tests.stores.contract.asking import claim, run_out, take, verdict
from tests.stores.contract.crowding import enter, owners, part, reader, turned_away
from tests.stores.crowd_races import CrowdRaces, waits
from tests.stores.sql_stores import before_each, empty_database, give_up, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery_locks.stores.sql import SqlStore
    from tests.stores.crowd_races import Between

#: Seconds after which one dies that says nothing more, with time for a busy machine to do some statements before.
SHORT = 1.0


#: Where the databases say it each in its own way; elsewhere two of them tell as much as three.
ON_ALL = pytest.mark.parametrize("url", ["sqlite", "postgres", "mariadb"], indirect=True)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return empty_database(request, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with opened(url) as store:
        take(store, "first")
        yield store


@pytest.fixture
def other(url: str) -> Iterator[SqlStore]:
    with opened(url) as store:
        yield store


@pytest.fixture
def before_it_joins(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> Between:
    """Has something happen once, after the store has read who has a key and before it writes that back."""
    due: list[Callable[[], object]] = []

    def told(words: str) -> None:
        if due and "UPDATE" in words:
            due.pop()()

    before_each(store, monkeypatch, told)
    return due.append


@ON_ALL
class TestRaces(CrowdRaces):
    """Who is faster between a look and a write."""


@ON_ALL
def test_nobody_elses_place_is_lost_between(store: SqlStore, other: SqlStore, before_it_joins: Between) -> None:
    """Who comes, beats, leaves or is put out as others come and go does so with what they have written."""
    first = enter(store, reader("wallet", "a"))
    before_it_joins(lambda: enter(other, reader("wallet", "b")))
    third = enter(store, reader("wallet", "c"))
    assert owners(other, "wallet") == ["a", "b", "c"]
    before_it_joins(lambda: enter(other, reader("wallet", "d")))
    assert verdict(store, third) is Verdict.RENEWED
    before_it_joins(lambda: enter(other, reader("wallet", "e")))
    assert store.release(first.claim)
    before_it_joins(lambda: enter(other, reader("wallet", "f")))
    assert store.evict("wallet", third.fence)
    assert owners(other, "wallet") == ["b", "d", "e", "f"]
    fences = [holding.fence for holding in other.holders("wallet")]
    assert fences == sorted(set(fences))


def test_one_whose_place_was_taken_is_not_renewed(store: SqlStore, other: SqlStore, before_it_joins: Between) -> None:
    """Its beat was read in time, and written after its lease had ended and another had its place."""
    late = enter(store, part("wallet", "late", 2, ttl=SHORT))
    enter(other, part("wallet", "b", 2))

    def taken() -> None:
        run_out(late)
        enter(other, part("wallet", "c", 2))

    before_it_joins(taken)
    assert verdict(store, late) is Verdict.LOST
    assert owners(other, "wallet") == ["b", "c"]


def test_those_who_were_put_out_do_not_come_back(store: SqlStore, other: SqlStore, before_it_joins: Between) -> None:
    """A claim, and a beat, that had read them before their key was freed by force do not write them back."""
    enter(store, reader("wallet", "a"))
    before_it_joins(lambda: other.force_release("wallet"))
    lease = enter(store, reader("wallet", "b"))
    assert owners(other, "wallet") == ["b"]
    before_it_joins(lambda: other.force_release("wallet"))
    assert verdict(store, lease) is Verdict.LOST
    assert owners(other, "wallet") == []


def test_the_last_that_came_is_put_out_alone(store: SqlStore, other: SqlStore) -> None:
    """Though the row has its fence: the others stay."""
    enter(store, part("wallet", "a"))
    last = enter(store, part("wallet", "b"))
    assert other.evict("wallet", last.fence)
    assert owners(other, "wallet") == ["a"]


@pytest.mark.parametrize("ask", [part, reader])
def test_one_that_gave_up_gets_no_place_later(
    store: SqlStore,
    other: SqlStore,
    before_it_joins: Between,
    ask: Callable[..., Any],
) -> None:
    """What it wrote arrives after its farewell: it takes nothing, and nothing that asks for it again does."""
    enter(other, ask("wallet", "a"))
    before_it_joins(lambda: give_up(other, "late"))
    assert store.acquire(ask("wallet", "late")) == Busy()
    assert store.acquire(ask("wallet", "late")) == Busy()
    assert owners(other, "wallet") == ["a"]


def test_an_interrupt_leaves_no_place_taken(store: SqlStore, other: SqlStore, before_it_joins: Between) -> None:
    """Struck after its place was written, and before it was heard of, a claim gives it back."""

    def struck() -> None:
        enter(other, part("wallet", "b"))
        raise KeyboardInterrupt

    enter(other, part("wallet", "a"))
    before_it_joins(struck)
    with pytest.raises(KeyboardInterrupt):
        store.acquire(part("wallet", "b"))
    assert owners(other, "wallet") == ["a"]


def test_one_that_others_always_forestall_is_told_so(
    url: str, other: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim is turned away, a beat knows nothing, and what cannot be given back is an outage that says why."""
    with opened(f"{url}?timeout=0.3") as store:
        lease, asked = enter(store, reader("wallet", "a")), 0

        def told(words: str) -> None:
            nonlocal asked
            if "UPDATE" in words:
                asked += 1
                enter(other, reader("wallet", f"other {asked}"))

        before_each(store, monkeypatch, told)
        assert turned_away(store, reader("wallet", "b")).holder == "a"
        assert verdict(store, lease) is Verdict.UNKNOWN
        with pytest.raises(StoreUnavailable, match="was changed by others each time"):
            store.undo(lease.claim)
        assert "a" in owners(other, "wallet")


@ON_ALL
def test_many_leases_are_renewed_in_two_statements(store: SqlStore, said: list[str]) -> None:
    """One reads and one writes, however many they are, and one more is for those that hold their keys alone."""
    keys = [f"key {number}" for number in range(40)]
    leases = [enter(store, ask(key, f"{name} of {key}")) for key in keys for ask, name in ((part, "a"), (part, "b"))]
    single = [take(store, f"single {number}") for number in range(10)]
    for number, lease in enumerate(leases):
        lease.ttl = 60.0 + number
    said.clear()
    assert store.renew([*leases, *single]) == [Verdict.RENEWED] * 90
    assert len(said) == 3
    remaining = [holding.remaining for key in keys for holding in store.holders(key)]
    assert remaining == pytest.approx([60 + number for number in range(80)], abs=30)
    assert (remaining[-1] or 0) > 120
    # That their claims do not say that they are of several costs a statement or two, once.
    for lease in leases:
        lease.claim = claim(lease.key, lease.owner)
    assert store.renew(leases) == [Verdict.RENEWED] * 80
    said.clear()
    assert store.renew(leases) == [Verdict.RENEWED] * 80
    assert len(said) == 2


def test_each_verb_is_few_statements(store: SqlStore, said: list[str]) -> None:
    """A place is taken, and given back, by a look and a write; a claim for which there is no room only looks.

    That there was none is written once, beside the locks.
    """
    enter(store, part("wallet", "a", 2))
    # The first release also looks for rows that nobody used for long.
    assert store.release(claim("first"))
    said.clear()
    lease = enter(store, part("wallet", "b", 2))
    assert len(said) == 2
    turned_away(store, part("wallet", "c", 2))
    assert len([words for words in said if "_conflicts" not in words]) == 3
    said.clear()
    turned_away(store, part("wallet", "c", 2))
    assert len(said) == 1
    assert store.release(lease.claim)
    assert len(said) == 3


def test_nothing_is_left_of_a_crowd(store: SqlStore, other: SqlStore) -> None:
    """When the last has left or died its key is one like any other; numbers and waits are shown as no locks."""
    for ttl in (30.0, SHORT):
        leases = [enter(store, reader("wallet", name, ttl=ttl)) for name in (f"a {ttl}", f"b {ttl}")]
        for lease in leases:
            run_out(lease) if ttl == SHORT else store.release(lease.claim)
        fence = take(other, "wallet", f"alone {ttl}").fence
        assert fence > leases[-1].fence
        assert other.release(claim("wallet", f"alone {ttl}"))
    store.set_slots("wallet", 3)
    enter(store, part("wallet", "a"))
    waits(other, "writer")
    assert store.release(part("wallet", "a"))
    assert [holding.key for holding in other.list()] == ["first"]
    assert other.purge() == 0
    assert other.slots("wallet") == 3
