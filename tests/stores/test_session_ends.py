"""Locks that live in a session, and children, closed stores and forgotten ones."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Verdict
from tests.stores.contract import claim, patient, take, verdict
from tests.stores.places import straight
from tests.stores.processes import Crew
from tests.stores.session_stores import QUICK, keepers, opened, room_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.sessions import SessionStore
    from tests.stores.places import Place
    from tests.stores.session_stores import Database


@pytest.fixture
def place(database: Database) -> Place:
    return straight(database.url, opened, QUICK)


def test_a_parent_without_a_lock_is_no_bar_to_a_childs(store: SessionStore, other: SessionStore) -> None:
    """A child has a session of its own, and what it takes ends with it."""
    lease = take(store, "parents")

    def child() -> None:
        assert not lease.held()
        take(store, "childs", "child")
        os._exit(0)

    with Crew() as crew:
        crew.start(child)
        crew.done()
    patient(other, "childs", "ben", timeout=10)
    assert verdict(store, lease) is Verdict.RENEWED


def test_a_fork_while_another_thread_speaks_is_no_trouble(store: SessionStore, other: SessionStore) -> None:
    """A child forked while the parent's mutex is held, and its answers are on their way, hears its own alone."""
    over = threading.Event()

    def speak() -> None:
        while not over.is_set():
            take(store, "spoken", "parent")
            assert store.release(claim("spoken", "parent")) is True
            room_of(store)._done.clear()

    speaking = threading.Thread(target=speak)
    speaking.start()
    try:
        with Crew() as crew:
            for number in range(10):
                crew.start(_child_speaks, store, number)
            crew.done()
    finally:
        over.set()
        speaking.join(30)
    take(other, "spoken", "ben")


def _child_speaks(store: SessionStore, number: int) -> None:
    for turn in range(10):
        assert take(store, f"key {number}", f"child {turn}").owner == f"child {turn}"
        assert store.release(claim(f"key {number}", f"child {turn}"))


def test_a_closed_store_leaves_no_session_and_no_thread(database: Database) -> None:
    """Closing frees what is held, and the store may be used again."""
    before = len(keepers())
    with opened(database.url) as store, opened(database.url) as other:
        lease = take(store, "wallet")
        store.close()
        assert not lease.held()
        patient(other, "wallet", "ben", timeout=20)
        take(store, "another")
    wait_until(lambda: not database.sessions(), "the sessions to end", 30)
    wait_until(lambda: len(keepers()) == before, "the threads to end", 30)


def test_a_forgotten_store_ends_its_session(database: Database) -> None:
    """A store that nobody closed, and nobody has any more, keeps no lock."""
    with opened(database.url + QUICK) as other:
        with contextlib.ExitStack() as never_left:
            store = never_left.enter_context(opened(database.url + QUICK))
            take(store, "wallet")
            never_left.pop_all()
        del store, never_left
        gc.collect()
        patient(other, "wallet", "ben", timeout=10)
