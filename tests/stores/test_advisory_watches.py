"""Watches of the advisory locks: who is told, by which connection, and what ends them."""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.stores import advisory
from celery_locks.stores.advisory import AdvisoryStore, wire
from celery_locks.stores.advisory.waiter import Waiter
from tests.stores.contract.asking import claim, refused, take
from tests.stores.contract.watchers import LONG, pause, running, waiting, watched
from tests.stores.session_stores import opened, room_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stores.session_stores import Database


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks himself."""
    monkeypatch.setattr(wire, "UNTOLD", LONG)


@pytest.fixture
def store(advisory_database: Database) -> Iterator[AdvisoryStore]:
    with opened(advisory_database.url) as store:
        assert isinstance(store, AdvisoryStore)
        yield store


@pytest.fixture
def other(advisory_database: Database) -> Iterator[AdvisoryStore]:
    with opened(advisory_database.url) as store:
        assert isinstance(store, AdvisoryStore)
        yield store


def channels(store: AdvisoryStore) -> list[str]:
    """What its session listens to."""
    (result,) = store._do(lambda room: room.settled().do("SELECT pg_listening_channels()"))
    return [result.get_value(row, 0).decode() for row in range(result.ntuples)]


@contextlib.contextmanager
def overhearing(database: Database, store: AdvisoryStore, key: str) -> Iterator[psycopg.Connection]:
    """A connection that is told what those are told who wait for the key."""
    url = database.url.replace("+advisory", "")
    with psycopg.connect(url, autocommit=True) as connection:
        number = int.from_bytes(store._name(key), "big", signed=True)
        connection.execute(f'LISTEN "celery_locks_{number}"'.encode())
        yield connection


def test_a_release_that_nobody_waits_for_tells_nobody(
    store: AdvisoryStore, other: AdvisoryStore, advisory_database: Database
) -> None:
    """Who waits has said so: the next release tells it, and the one after that nobody."""
    with overhearing(advisory_database, store, "wallet") as connection:
        for turn, waits in enumerate((False, True, False)):
            take(store, "wallet", f"anna {turn}")
            if waits:
                watched(other, "wallet", 0.05)
            assert store.release(claim("wallet", f"anna {turn}"))
            # What was sent before the answer to a request comes before it.
            connection.execute("SELECT 1")
            assert len(list(connection.notifies(timeout=0.2))) == waits


def test_a_watch_takes_no_connection_of_its_own(
    store: AdvisoryStore, other: AdvisoryStore, advisory_database: Database
) -> None:
    """The session that has the locks hears of others, and stops to listen when nobody waits any more."""
    take(store, "wallet")
    take(store, "purse")
    refused(other, "wallet")
    sessions = len(advisory_database.sessions())
    with waiting(other, "wallet") as waiter, waiting(other, "purse") as second:
        wait_until(lambda: len(channels(other)) == 2, "the watches to stand")
        assert len(advisory_database.sessions()) == sessions
        for key in ("wallet", "purse"):
            assert store.release(claim(key))
        waiter.done()
        second.done()
    room = room_of(other)
    room.ping(room.session)
    assert channels(other) == []


def test_a_watch_does_not_hold_up_the_verbs(store: AdvisoryStore, other: AdvisoryStore) -> None:
    """While one thread waits, others take and give back through the same session, and one of them may hear its word."""
    take(store, "wallet")
    with waiting(other, "wallet") as waiter:
        pause(0.2)
        for turn in range(200):
            take(other, "purse", f"ben {turn}")
            if turn == 100:
                assert store.release(claim("wallet"))
            assert other.release(claim("purse", f"ben {turn}"))
        waiter.done()
        assert waiter.watches == 1


def test_what_a_verb_hears_is_handed_on(store: AdvisoryStore, other: AdvisoryStore) -> None:
    """A word for one who waits may come between a request of another thread and its answer."""
    take(store, "wallet")
    with Waiter(other._name("wallet")) as waiter:
        other._do(advisory._watching, waiter)
        assert store.release(claim("wallet"))

        def woken() -> bool:
            other.inspect("purse")
            return waiter._ear in select.select([waiter._ear], [], [], 0)[0]

        wait_until(woken, "the verb to hear the word")


def test_a_key_that_was_forced_is_watched_where_it_is(store: AdvisoryStore, other: AdvisoryStore) -> None:
    """It has moved to another place, and its next holder's release is told like any other."""
    take(store, "wallet")
    assert other.force_release("wallet")
    for owner in ("cleo", "dora"):
        take(store, "wallet", owner)
        with waiting(other, "wallet", f"ben after {owner}") as waiter:
            pause(0.2)
            assert not waiter.lease
            assert store.release(claim("wallet", owner))
            waiter.done()


def test_a_lock_of_a_stranger_is_not_asked_for_without_pause(other: AdvisoryStore, advisory_database: Database) -> None:
    """Another program's lock on the same number is in no row, and nobody tells of its end: a watch of it is a pause."""
    number = int.from_bytes(other._name("strange"), "big", signed=True)
    with psycopg.connect(advisory_database.url.replace("+advisory", ""), autocommit=True) as stranger:
        stranger.execute("SELECT pg_advisory_lock(%s)", (number,))
        with waiting(other, "strange") as waiter:
            begun = time.monotonic()
            for _ in range(20):
                other.watch("strange", LONG)
            assert time.monotonic() - begun > 19 * wire.UNKNOWN
            stranger.execute("SELECT pg_advisory_unlock(%s)", (number,))
            waiter.done()


def test_the_end_of_the_session_ends_a_watch(
    store: AdvisoryStore, other: AdvisoryStore, advisory_database: Database
) -> None:
    """It is an outage, and the next watch is in the next session."""
    take(store, "wallet")
    refused(other, "wallet")

    def outage() -> str:
        with pytest.raises(StoreUnavailable) as caught:
            other.watch("wallet", LONG)
        return str(caught.value)

    with running(outage) as said:
        wait_until(lambda: channels(other), "the watch to stand")
        advisory_database.end_sessions()
        wait_until(lambda: said, "the watch to end", 30)
    with opened(advisory_database.url) as third:
        take(third, "wallet", "cleo")
        with waiting(other, "wallet") as waiter:
            assert third.release(claim("wallet", "cleo"))
            waiter.done()


def test_a_store_that_is_closed_ends_its_watches(store: AdvisoryStore, other: AdvisoryStore) -> None:
    """Whoever waits in another thread does not wait for nobody."""
    take(store, "wallet")
    with running(lambda: other.watch("wallet", LONG)) as ended:
        wait_until(lambda: channels(other), "the watch to stand")
        other.close()
        assert wait_until(lambda: ended, "the watch to end", 30) == [None]
