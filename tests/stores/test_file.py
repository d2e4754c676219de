"""The file store keeps the contract between the processes of this machine."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Busy, Verdict
from celery_locks.stores.file import FileStore, from_url
from tests.stores.contract import (
    ConnectionContract,
    InspectContract,
    ProcessContract,
    SeveralContract,
    StoreContract,
    claim,
    refused,
    take,
    verdict,
)
from tests.stores.places import opener, straight
from tests.stores.processes import Crew

if TYPE_CHECKING:
    from tests.stores.contract import Opens
    from tests.stores.places import Place

LONG_AGO = 3 * 86_400.0


@pytest.fixture
def place(folder: pathlib.Path) -> Place:
    return straight(f"file://{folder}", opener(FileStore))


class TestFileStore(StoreContract, ConnectionContract, InspectContract, ProcessContract, SeveralContract):
    """Its locks live in open files."""

    store_type = FileStore
    has_one_fence = False

    @pytest.fixture
    def url(self, folder: pathlib.Path) -> str:
        return f"file://{folder}"


def only_file(folder: pathlib.Path) -> pathlib.Path:
    (path,) = folder.iterdir()
    return path


def make_old(path: pathlib.Path) -> None:
    os.utime(path, (time.time() - LONG_AGO, time.time() - LONG_AGO))


def test_a_crash_leaves_a_name_and_no_lock(open_store: Opens, folder: pathlib.Path) -> None:
    """What a killed holder has written names it for ever; the key is free nevertheless, and its fence is remembered."""
    with Crew() as crew:
        crew.start(_take_and_die, open_store).join(30)
    assert json.loads(only_file(folder).read_text())["owner"] == "the dead"
    store = open_store()
    assert store.inspect("wallet:1") is None
    assert list(store.list()) == []
    assert not store.force_release("wallet:1")
    fence = json.loads(only_file(folder).read_text())["fence"]
    assert take(store, "wallet:1").fence > fence
    assert refused(open_store(), "wallet:1").holder == "anna"


def test_a_fence_is_remembered_when_the_clock_is_set_back(
    store: FileStore, open_store: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumps back a year changes nothing: not after a release, a crash, or a forced release."""
    first = take(store, "wallet:1").fence
    monkeypatch.setattr(time, "time_ns", lambda: (first - 365 * 86_400_000_000) * 1000)
    assert store.release(claim("wallet:1"))
    fences = [first, take(store, "wallet:1", "ben").fence]
    store.close()
    fences.append(take(store, "wallet:1", "cleo").fence)
    assert open_store().force_release("wallet:1")
    fences.append(take(open_store(), "wallet:1", "dora").fence)
    assert fences == sorted(set(fences))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00garbage",
        b'{"prefix": "lock:", "key": "wall',
        b"[1, 2]",
        b'{"prefix": 1, "key": null, "owner": {}, "fence": "x"}',
        b'{"prefix": "lock:", "key": "wallet:1", "owner": "x", "fence": 1e400}',
        b'{"prefix": "lock:", "key": "wallet:1", "owner": "x", "fence": -5}',
        b"[" * 100_000,
        b"x" * 5_000_000,
    ],
    ids=lambda content: content[:20].decode("latin1") or "nothing",
)
def test_unreadable_content_stops_nobody(store: FileStore, folder: pathlib.Path, content: bytes) -> None:
    """Whatever a crash or a hand has left in the file, the key can be taken, with a fence from the clock."""
    take(store, "wallet:1")
    store.close()
    only_file(folder).write_bytes(content)
    assert store.inspect("wallet:1") is None
    before = time.time_ns() // 1000
    assert take(store, "wallet:1", "ben").fence >= before
    assert store.inspect("wallet:1").owner == "ben"
    assert store.release(claim("wallet:1", "ben"))


def test_unreadable_content_frees_nothing(store: FileStore, open_store: Opens, folder: pathlib.Path) -> None:
    """A holder whose name is spoilt still holds: others are refused, and told that somebody does."""
    lease = take(store, "wallet:1")
    only_file(folder).write_bytes(b"garbage")
    assert open_store().acquire(claim("wallet:1", "ben")) == Busy()
    assert open_store().inspect("wallet:1").owner == "unknown"
    assert verdict(store, lease) is Verdict.RENEWED
    assert store.release(lease.claim)
    take(open_store(), "wallet:1", "ben")


def test_a_removed_file_is_a_lost_lock(store: FileStore, open_store: Opens, folder: pathlib.Path) -> None:
    """Who deletes or replaces a lock file takes the lock away: the holder learns it, and harms nobody after."""
    other = open_store()
    for spoil in (pathlib.Path.unlink, lambda path: path.replace(path.with_name("gone")), lambda _: _remove(folder)):
        lease = take(store, "wallet:1")
        spoil(only_file(folder))
        assert verdict(store, lease) is Verdict.LOST
        new = take(other, "wallet:1", "ben")
        assert not store.release(lease.claim)
        assert refused(store, "wallet:1", "cleo").holder == "ben"
        assert other.release(new.claim)
        _remove(folder)


def test_a_forced_out_owner_that_asks_again_is_a_new_holder(store: FileStore) -> None:
    """Its old lock is worth nothing: it gets a new one, with a higher fence."""
    first = take(store, "wallet:1")
    assert store.force_release("wallet:1")
    second = take(store, "wallet:1")
    assert second.fence > first.fence
    assert verdict(store, second) is Verdict.RENEWED


def test_closing_ends_the_locks_that_live_in_its_files(store: FileStore, open_store: Opens) -> None:
    """A closed store holds nothing, its leases are lost, and it can be used again."""
    lease = take(store, "wallet:1")
    store.close()
    assert verdict(store, lease) is Verdict.LOST
    take(open_store(), "wallet:1", "ben")
    take(store, "wallet:2")


def test_idle_files_go_and_others_stay(store: FileStore, folder: pathlib.Path) -> None:
    """Adding files removes those unused for the retention; not younger ones, not held ones, not those of others."""
    take(store, "held")
    for number in range(40):
        take(store, f"old:{number}")
        assert store.release(claim(f"old:{number}"))
    foreign = [folder / "apt.lock", folder / "notes.txt", folder / "wallet.lock"]
    for path in foreign:
        path.write_text('{"prefix": "lock:", "key": "other", "owner": "", "fence": 1}\n')
    for path in folder.iterdir():
        make_old(path)
    for number in range(60):
        take(store, f"new:{number}")
        assert store.release(claim(f"new:{number}"))
    left = sorted(path.name for path in folder.iterdir())
    assert [name for name in left if "old" in name] == []
    assert len([name for name in left if "new" in name]) == 60
    assert all(path.exists() for path in foreign)
    assert refused(store, "held").holder == "anna"


def test_files_do_not_pile_up(folder: pathlib.Path) -> None:
    """A thousand keys used once each, by stores that live for one lock each, leave a fraction of their files."""
    for number in range(1000):
        store = from_url(f"file://{folder}?fence_retention=0.000001")
        take(store, f"wallet:{number}")
        assert store.release(claim(f"wallet:{number}"))
    assert len(list(folder.iterdir())) < 100


def _remove(folder: pathlib.Path) -> None:
    for path in folder.glob("*"):
        path.unlink()
    folder.rmdir()


def _take_and_die(open_store: Opens) -> None:
    store = open_store()
    take(store, "wallet:1", "the dead")
    os.kill(os.getpid(), signal.SIGKILL)
