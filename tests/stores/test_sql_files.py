"""Locks in a file of SQLite: locked by others, missing, forked, and how it is written."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import threading
from typing import TYPE_CHECKING

import psutil
import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Verdict
from celery_locks.stores import open_store
from celery_locks.stores.sql import wire
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.processes import Crew
from tests.stores.sql_stores import QUICK, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_locks.stores.sql import SqlStore

#: Among so many one hung, in each of four runs, while the collector closed what errors left behind.
FORKS = 150


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "locks.db"


def test_a_locked_file_is_an_outage(file: Path) -> None:
    """Another program that writes for too long is no holder: the error says what to do."""
    with opened(f"sqlite:///{file}{QUICK}") as store:
        take(store, "first")
        with _locked(file), pytest.raises(StoreUnavailable, match="a file of their own"):
            store.acquire(claim("wallet"))
        take(store, "wallet")


def test_a_file_that_cannot_be_made_is_an_outage(tmp_path: Path) -> None:
    """Its folder is missing: the error says so."""
    with opened(f"sqlite:///{tmp_path}/none/locks.db") as store:
        with pytest.raises(StoreUnavailable, match="make its folder"):
            store.acquire(claim("wallet"))
        (tmp_path / "none").mkdir()
        take(store, "wallet")


def test_a_file_that_is_no_database_is_an_outage(file: Path) -> None:
    """Something else lies there, and is left alone."""
    file.write_text("a diary, " * 500)
    with opened(f"sqlite:///{file}") as store, pytest.raises(StoreUnavailable, match="something else"):
        store.acquire(claim("wallet"))
    assert file.read_text() == "a diary, " * 500


def test_no_connection_to_a_file_is_open_at_a_fork(file: Path) -> None:
    """SQLite's memory of its own locks must not be inherited: a child finds none, and the parent opens again."""
    with opened(f"sqlite:///{file}") as store:
        lease = take(store, "wallet")
        with Crew() as crew:
            crew.start(_finds_no, file)
            crew.done(10)
        assert verdict(store, lease) is Verdict.RENEWED


def test_an_error_leaves_no_connection_open(file: Path) -> None:
    """Whoever keeps the error of a locked file, or of one that is no database, keeps no connection with it."""
    with opened(f"sqlite:///{file}{QUICK}") as store:
        take(store, "first")
        with _locked(file), pytest.raises(StoreUnavailable) as locked:
            store.acquire(claim("wallet"))
    _finds_no(file)
    file.write_text("a diary, " * 500)
    with opened(f"sqlite:///{file}") as store, pytest.raises(StoreUnavailable) as unread:
        store.acquire(claim("wallet"))
    _finds_no(file)
    del locked, unread


def test_a_dropped_store_closes_its_connection_while_no_process_forks(file: Path) -> None:
    """Where its last mention goes while another thread has the mutex of forks, the next fork closes what it left."""
    store = open_store(f"sql+sqlite:///{file}")
    take(store, "wallet")
    has, may_go = threading.Event(), threading.Event()
    holder = threading.Thread(target=_hold, args=(has, may_go))
    holder.start()
    try:
        assert has.wait(30), "the other thread should have the mutex"
        del store
        gc.collect()
        with pytest.raises(AssertionError):
            _finds_no(file)
    finally:
        may_go.set()
        holder.join(30)
    with Crew() as crew:
        crew.start(_finds_no, file)
        crew.done()
    _finds_no(file)


def _hold(has: threading.Event, may_go: threading.Event) -> None:
    with wire._gate:
        has.set()
        may_go.wait(30)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        yield
        intruder.execute("ROLLBACK")


def _finds_no(file: Path) -> None:
    files = psutil.Process().open_files()
    assert not [each.path for each in files if each.path.startswith(str(file))]


def test_a_fork_waits_for_a_statement_under_way(file: Path) -> None:
    """Children forked while other threads write each work with the file, and nobody holds what another has."""
    with opened(f"sqlite:///{file}") as store:
        over = threading.Event()

        def write() -> None:
            number = 0
            while not over.is_set():
                number += 1
                take(store, f"busy {number}")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            with Crew() as crew:
                for number in range(8):
                    crew.start(take, store, f"key {number}", f"child {number}")
                crew.done()
        finally:
            over.set()
            writer.join(30)
        for number in range(8):
            assert refused(store, f"key {number}").holder == f"child {number}"


def test_a_fork_waits_for_what_errors_leave_behind(tmp_path: Path) -> None:
    """Children work while a thread of their parent meets a file that is no database, and collects what is left."""
    (tmp_path / "diary.db").write_text("a diary, " * 500)
    with opened(f"sqlite:///{tmp_path}/diary.db") as unread, opened(f"sqlite:///{tmp_path}/locks.db") as store:
        take(store, "wallet")
        over = threading.Event()
        reader = threading.Thread(target=_fail_until, args=(over, unread))
        reader.start()
        try:
            with Crew() as crew:
                for number in range(FORKS):
                    crew.start(take, store, f"key {number}", f"child {number}")
                    crew.done()
        finally:
            over.set()
            reader.join(30)


def _fail_until(over: threading.Event, store: SqlStore) -> None:
    while not over.is_set():
        with contextlib.suppress(StoreUnavailable):
            store.acquire(claim("wallet"))
        gc.collect(0)


def test_a_new_file_is_written_ahead_and_another_as_its_owner_likes(tmp_path: Path) -> None:
    """WAL is for files that are ours alone; a database that somebody uses already keeps its ways."""
    used = tmp_path / "used.db"
    with contextlib.closing(sqlite3.connect(used)) as theirs:
        theirs.execute("CREATE TABLE theirs (id)")
    for path, mode in ((tmp_path / "new.db", "wal"), (used, "delete")):
        with opened(f"sqlite:///{path}") as store:
            take(store, "wallet")
            with contextlib.closing(sqlite3.connect(path)) as looking:
                assert looking.execute("PRAGMA journal_mode").fetchone() == (mode,)
