"""How long a verb waits in a session with a database, and what a long wait of one of them does to the others."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pymysql
import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Verdict
from tests.servers.process import HOST
from tests.stores.contract import claim, patient, take, verdict
from tests.stores.places import straight
from tests.stores.session_stores import opened, outage, room_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.sessions import SessionStore
    from tests.stores.places import Place
    from tests.stores.session_stores import Database


@pytest.fixture
def place(database: Database) -> Place:
    return straight(database.url, opened, "?timeout=0.5")


@contextlib.contextmanager
def _read_only(database: Database) -> Iterator[None]:
    """Nobody can write to the table, as while a backup is made."""
    name = database.url.rpartition("/")[2]
    if database.url.startswith("postgresql"):
        with psycopg.connect(database.server.url(name)) as connection:
            connection.execute("LOCK TABLE celery_locks_sessions IN SHARE MODE")
            yield
    else:
        login = {"host": HOST, "port": database.server.port, "user": "root", "database": name}
        with pymysql.connect(**login, ssl_disabled=True) as connection:
            connection.cursor().execute("LOCK TABLES celery_locks_sessions READ")
            yield


def test_a_statement_that_waits_costs_no_other_lease(
    store: SessionStore, other: SessionStore, database: Database
) -> None:
    """An acquire whose row cannot be written in time is an outage of that acquire, and given back later."""
    held = take(store, "held")
    with _read_only(database):
        with pytest.raises(StoreUnavailable, match=r"no answer within 0.5 s"):
            store.acquire(claim("wallet"))
        assert held.held()
        with pytest.raises(StoreUnavailable, match=r"no answer within 0.5 s"):
            store.renew([held])
    patient(other, "wallet", "ben", timeout=10)
    assert held.held()
    assert verdict(store, held) is Verdict.RENEWED
    assert store.release(held.claim)


def _asked_together(verbs: list[Callable[[], object]]) -> list[str]:
    """What became of each, when all were asked at once."""
    answers: list[str] = []

    def ask(verb: Callable[[], object]) -> None:
        try:
            verb()
        except StoreUnavailable as outage:
            answers.append(str(outage))

    threads = [threading.Thread(target=ask, args=(verb,)) for verb in verbs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_a_verb_waits_for_its_timeout_and_no_longer(store: SessionStore, database: Database) -> None:
    """However many threads ask a server that hangs, and beats among them: the time in the queue counts."""
    held = take(store, "held")
    verbs: list[Callable[[], object]] = [
        lambda number=number: store.acquire(claim(f"key {number}"))  # type: ignore[misc]
        for number in range(60)
    ]
    database.server.pause()
    wait_until(lambda: outage(store), "the server to stand still")
    before = time.monotonic()
    answers = _asked_together([*verbs, lambda: store.renew([held])])
    # One after another they would take half a minute.
    assert time.monotonic() - before < 15
    database.server.resume()
    assert len(answers) == 61
    assert all("no answer within 0.5 s" in answer for answer in answers)
    wait_until(lambda: not room_of(store)._doomed, "what was taken unheard to be given back")
    assert verdict(store, held) is Verdict.RENEWED


def test_a_release_that_never_came_to_speak_releases(store: SessionStore, other: SessionStore) -> None:
    """Whoever waited in vain for others to be through is told of an outage; its key is given back nevertheless."""
    held = take(store, "held")
    with room_of(store).mutex:
        before = time.monotonic()
        thread = threading.Thread(target=lambda: outages.extend(_asked_together([lambda: store.release(held.claim)])))
        outages: list[str] = []
        thread.start()
        wait_until(lambda: time.monotonic() > before + 1, "the timeout")
    thread.join(30)
    assert len(outages) == 1
    patient(other, "held", "ben", timeout=10)
    assert store.release(held.claim)
