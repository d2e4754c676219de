"""Stores by URL: those of others too, and what is said of one that is not there."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from celery_locks import LockConfigError, Locks
from celery_locks.stores import ENTRY_POINTS, open_store
from celery_locks.stores.memory import MemoryStore


@pytest.fixture
def offered(monkeypatch):
    """A package that offers a store of its own, by a name and the place it is at."""

    def offer(scheme: str, place: str) -> None:
        entry = importlib.metadata.EntryPoint(scheme, place, ENTRY_POINTS)

        def found(*, group: str, name: str) -> list[importlib.metadata.EntryPoint]:
            return [entry] if (group, name) == (ENTRY_POINTS, scheme) else []

        monkeypatch.setattr("importlib.metadata.entry_points", found)

    return offer


def test_a_store_of_others_is_found_by_its_scheme(offered):
    """The entry point is called as the built-in ones are."""
    offered("dict", "celery_locks.stores.memory:from_url")
    store = open_store("dict://bank", prefix="x:")
    assert isinstance(store, MemoryStore)
    assert store.prefix == "x:"


def test_a_store_of_others_that_lacks_its_client_says_so(offered):
    """Naming the place it was to come from, and what is missing there."""
    offered("dict", "no_such_package.stores:from_url")
    with pytest.raises(LockConfigError, match=r"dict:// cannot be imported from no_such_package.*: install"):
        open_store("dict://bank")


@pytest.mark.parametrize(
    ("url", "home", "client", "extra"),
    [
        ("zookeeper://a", "zookeeper", "kazoo", "zookeeper"),
        ("postgresql+advisory://a/b", "advisory", "psycopg", "postgresql"),
        ("mysql+getlock://a/b", "getlock", "pymysql", "mysql"),
        ("sql+sqlite:///a", "sql", "sqlalchemy", "sql"),
    ],
)
def test_a_missing_client_is_an_error_that_names_the_extra(url, home, client, extra, monkeypatch):
    """One line says what to install."""
    for name in list(sys.modules):
        if name.partition(".")[0] == client or name.startswith(f"celery_locks.stores.{home}"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, client, None)
    with pytest.raises(LockConfigError) as caught:
        open_store(url)
    assert caught.value.message.endswith(f"which is not installed: pip install 'celery-locks[{extra}]'")


def test_a_slip_of_the_pen_is_mended():
    """The scheme that was meant is named."""
    with pytest.raises(LockConfigError, match=r"did you mean redis://\?"):
        open_store("reddis://localhost")


@pytest.mark.parametrize("url", ["localhost", "", None, 6379, "redis:/localhost"])
def test_what_is_no_url_is_refused(url):
    """With an example of one."""
    with pytest.raises(LockConfigError, match="is not a store's URL: write it as scheme://"):
        open_store(url)


def test_memory_takes_no_options():
    """One line, and no bare `TypeError`."""
    with pytest.raises(LockConfigError, match="memory:// takes no options"):
        Locks("memory://", socket_timeout=1)


def test_locks_whose_holders_died_do_not_pile_up(room):
    """Nobody asks for those keys again, and the store is still rid of them."""
    for number in range(5_000):
        room.guard.store.acquire(room.claim(f"wallet:{number}", ttl=1.0))
        room.clock.advance(2.0)
    assert len(room.store.memory._space.taken) <= 1_024
