"""What can be wrong with a folder of lock files, and what the user is told."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.lease import Lease
from celery_locks.stores import open_store
from celery_locks.stores.file import FENCE_RETENTION, FileStore, from_url
from tests.stores.contract import ODD_KEYS, claim, take

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(folder: Path) -> FileStore:
    return from_url(f"file://{folder}")


def told(store: FileStore, key: str = "wallet:1") -> str:
    """What an acquire that cannot be says: one line."""
    with pytest.raises(StoreUnavailable) as refusal:
        store.acquire(claim(key))
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "file://",
        "file:///",
        "file://locks",
        "file://./locks",
        "file://~/locks",
        "file://server/share",
        "file:///?x=1",
        "file:///a%00b",
    ],
)
def test_a_url_must_name_a_folder_by_its_whole_path(url: str) -> None:
    """A URL without a path, or with a relative one, or of another machine, is refused with the right form."""
    with pytest.raises(LockConfigError, match=r"must name a folder by its whole path: write file:///var/lib/locks"):
        open_store(url)


@pytest.mark.parametrize(
    ("query", "word"), [("ttl=5", "'ttl'"), ("fence_retension=5", "'fence_retension'"), ("x", "'x'")]
)
def test_an_unknown_option_is_refused(query: str, word: str) -> None:
    """An option that means nothing is named, with the one that there is."""
    if "=" not in query:
        query += "="
    with pytest.raises(LockConfigError, match=f"does not know {word}; its only option is fence_retention"):
        open_store(f"file:///var/lib/locks?{query}")
    with pytest.raises(LockConfigError, match="does not know 'socket_timeout'"):
        open_store("file:///var/lib/locks", options={"socket_timeout": 1})


@pytest.mark.parametrize("value", ["", "0", "-1", "two days", "nan"])
def test_a_retention_must_be_seconds(value: str) -> None:
    """A retention that is no number above zero is refused."""
    with pytest.raises(LockConfigError, match="fence_retention must be seconds above 0"):
        open_store(f"file:///var/lib/locks?fence_retention={value}")


def test_a_url_is_read_as_it_is_meant(tmp_path: Path) -> None:
    """Percent signs stand for odd characters, localhost for this machine, and opening a store touches no disk."""
    spaced = open_store(f"file://localhost{tmp_path}/my%20locks/?fence_retention=60", prefix="bank:")
    assert isinstance(spaced, FileStore)
    assert (spaced.folder, spaced.prefix) == (f"{tmp_path}/my locks", "bank:")
    assert not (tmp_path / "my locks").exists()
    assert FENCE_RETENTION == 2 * 24 * 60 * 60


def test_a_missing_folder_is_made_and_until_then_holds_nothing(store: FileStore, folder: Path) -> None:
    """Looking makes nothing; the first lock makes the folder, and again when it was removed under way."""
    assert store.inspect("wallet:1") is None
    assert list(store.list()) == []
    assert not store.force_release("wallet:1")
    assert not folder.exists()
    take(store, "wallet:1")
    shutil.rmtree(folder)
    take(store, "wallet:1", "ben")
    assert store.inspect("wallet:1").owner == "ben"


def test_a_file_in_the_place_of_the_folder(folder: Path) -> None:
    """A path that is a file, or leads through one, is told as such, by whoever looks as well."""
    folder.write_text("not a folder")
    for path in (folder, folder / "deeper"):
        store = from_url(f"file://{path}")
        assert f"the lock files in {path} cannot be used" in told(store)
        assert "a file is in its way: name a folder" in told(store)
        with pytest.raises(StoreUnavailable, match="a file is in its way"):
            list(store.list())
    with pytest.raises(StoreUnavailable, match="a file is in its way"):
        store.inspect("wallet:1")


def test_a_link_or_folder_in_the_place_of_a_lock_file(store: FileStore, folder: Path, tmp_path: Path) -> None:
    """A lock file is never looked for behind a link, which could lead to any file of this user."""
    take(store, "wallet:1")
    (path,) = folder.iterdir()
    path.unlink()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    assert "a link is in the way of a lock file" in told(store, "wallet:1")
    assert victim.read_text() == "precious"
    path.unlink()
    path.mkdir()
    assert "a folder is in the way of a lock file" in told(store, "wallet:1")


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EACCES, "give this user the right to write there"),
        (errno.EROFS, "it cannot be written to"),
        (errno.ENOSPC, "free space on its disk"),
        (errno.EDQUOT, "free space on its disk"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "name another folder"),
    ],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else "",
)
def test_a_disk_that_refuses_is_an_outage_with_advice(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    """What the system says comes with what to do, from every verb; afterwards nothing is left taken."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    take(store, "wallet:0")
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        message = told(store)
        assert advice in message
        assert os.strerror(code) in message
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            store.inspect("wallet:0")
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            store.force_release("wallet:0")
    take(store, "wallet:1")


def test_a_full_disk_takes_no_key(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock whose fence could not be written is not given; a release needs no room."""
    lease = take(store, "wallet:0")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda *_: 0)
        assert "free space on its disk" in told(store)
        assert store.release(lease.claim)
    take(from_url(f"file://{store.folder}"), "wallet:1", "ben")
    take(store, "wallet:0", "ben")


def test_a_disk_that_cannot_lock_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network disks that refuse locks, or grant one to everybody, are found out before the first key is given."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    for flock in (refuse, lambda *_: None):
        monkeypatch.setattr(fcntl, "flock", flock)
        assert "locks do not work on this disk" in told(from_url(f"file://{folder}"))
        assert list(folder.iterdir()) == []


def test_a_key_looked_at_without_pause_is_an_outage_and_not_taken(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it can never be told whether a key is free, the store says so: it does not call it taken."""
    take(store, "wallet:0")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    whole = fcntl.flock

    def flock(fd: int, kind: int) -> None:
        if kind & fcntl.LOCK_EX:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        whole(fd, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "'wallet:1' is looked at without pause" in told(store)


def test_file_names_are_readable_short_and_all_different(store: FileStore, folder: Path) -> None:
    """A name shows its key where it can, fits every disk, and differs from others by more than capitals or accents."""
    take(store, "wallet:42")
    assert [path.name for path in folder.iterdir()] == ["lock%3A,wallet%3A42.lock"]
    for odd in ODD_KEYS.values():
        take(store, odd)
    names = [path.name for path in folder.iterdir()]
    assert len({name.lower() for name in names}) == len(ODD_KEYS) + 1
    assert all(name.isascii() and len(name) < 143 for name in names)


@pytest.mark.parametrize("odd", ["\x00", "\x7f\x1b[2J"], ids=["nul", "control"])
def test_a_key_may_be_what_no_file_name_can_be(store: FileStore, odd: str) -> None:
    """Bytes that no file name can have are no obstacle."""
    assert isinstance(store.acquire(claim(odd)), Lease)
    assert store.inspect(odd).key == odd
    assert [holding.key for holding in store.list()] == [odd]
