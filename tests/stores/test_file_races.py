"""Many processes, onlookers, forks and interruptions around one folder of lock files."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Verdict
from celery_locks.stores.file import FileStore, from_url
from celery_locks.stores.file.lockfile import LockFile
from celery_locks.stores.file.sweeper import Sweeper
from tests.judging import Stay, faults, record, recorded
from tests.stores.contract import claim, patient, refused, take, verdict
from tests.stores.places import opener, straight
from tests.stores.processes import Crew, forking

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event

    from tests.stores.contract import Opens
    from tests.stores.places import Place


@pytest.fixture
def place(folder: pathlib.Path) -> Place:
    return straight(f"file://{folder}", opener(FileStore))


def test_sweeping_races_with_nobody(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Files that are removed as soon as they are released take no lock from those who open them meanwhile."""
    for key in ("a", "b"):
        (tmp_path / key).mkdir()
    with Crew() as crew:
        for number in range(12):
            crew.start(_come_and_go, f"file://{folder}?fence_retention=0.000001", f"process {number}", tmp_path)
        crew.done()
    stays = {key: recorded(tmp_path / key) for key in ("a", "b")}
    assert sum(map(len, stays.values())) == 12 * 40
    assert [faults(each) for each in stays.values()] == [[], []]


def test_onlookers_are_in_nobodys_way(store: FileStore, open_store: Opens) -> None:
    """However many look at a key without pause, whoever takes it is never told that it is taken."""
    stop = forking.Event()
    with Crew() as crew:
        for _ in range(6):
            crew.start(_look_on, open_store, "wallet:1", stop)
        for turn in range(400):
            assert take(store, "wallet:1", f"owner {turn}").held()
            # As a crash would leave it: free, and with the name of its last holder.
            store.close()
        stop.set()
        crew.done()


def test_a_fork_amid_locking_keeps_nothing_taken(open_store: Opens) -> None:
    """Children forked while other threads take keys keep none of these after the parent was killed."""
    here, there = forking.Pipe(duplex=False)
    with Crew() as crew:
        parent = crew.start(_lock_and_fork, open_store, there)
        assert here.poll(60)
        group = here.recv()
        try:
            refused(open_store(), "thread 0: 0")
            parent.kill()
            parent.join()
            for holding in open_store().list():
                patient(open_store(), holding.key, "heir", timeout=10)
        finally:
            os.killpg(group, signal.SIGKILL)


def test_a_copy_of_the_descriptor_keeps_nothing(store: FileStore, open_store: Opens) -> None:
    """A process that was forked a moment ago, and has not closed its copy yet, keeps no key that is given back."""
    lease = take(store, "wallet:1")
    (file,) = store._held.values()
    copy = os.dup(file._fd)
    try:
        assert store.release(lease.claim)
        take(open_store(), "wallet:1", "ben")
    finally:
        os.close(copy)


def test_a_holder_without_a_name_is_given_time_to_write_it(
    store: FileStore, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks between a holder's lock and its name waits for the name, and is told it."""
    take(store, "wallet:1")
    (file,) = store._held.values()
    (path,) = folder.iterdir()
    named = path.read_bytes()
    path.write_bytes(b"")
    monkeypatch.setattr(time, "sleep", lambda pause: pause and path.write_bytes(named))
    assert refused(store, "wallet:1").holder == "anna"
    path.write_bytes(b"")
    assert store.inspect("wallet:1").owner == "anna"
    assert file.is_named()


def test_a_sweep_that_comes_late_takes_no_file_from_its_holder(
    open_store: Opens, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was removed, made anew and locked between a sweeper's look and its lock is left alone."""
    store, other = open_store(), open_store()
    take(store, "wallet:1")
    assert store.release(claim("wallet:1"))
    (path,) = folder.iterdir()
    leases, lock = [], LockFile.lock

    def late(file: LockFile, kind: int) -> bool:
        if not leases:
            path.unlink()
            leases.append(None)
            leases[0] = take(other, "wallet:1", "ben")
        return lock(file, kind)

    monkeypatch.setattr(LockFile, "lock", late)
    os.utime(path, (0, 0))
    Sweeper(str(folder), retention=60).sweep()
    assert verdict(other, leases[0]) is Verdict.RENEWED


def test_an_interrupted_acquire_leaves_the_key_free(
    store: FileStore, open_store: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time limit that strikes in the midst of an acquire leaves no open file that keeps the key."""

    def strike(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", strike)
        with pytest.raises(KeyboardInterrupt) as kept:
            store.acquire(claim("wallet:1"))
    take(open_store(), "wallet:1", "ben")
    assert kept.traceback


def test_no_descriptor_leaks(store: FileStore, open_store: Opens) -> None:
    """Taking, refusing, looking, forcing and giving back leave as many files open as there were."""

    def use() -> None:
        take(store, "wallet:1")
        refused(open_store(), "wallet:1")
        store.inspect("wallet:1")
        assert len(list(store.list())) == 1
        assert store.release(claim("wallet:1"))
        lease = take(store, "wallet:1")
        assert store.force_release("wallet:1")
        assert verdict(store, lease) is Verdict.LOST

    use()
    before = _open_files()
    for _ in range(50):
        use()
    assert _open_files() == before


def _open_files() -> int:
    return len(list(pathlib.Path("/dev/fd").iterdir()))


def _come_and_go(url: str, name: str, folder: pathlib.Path) -> None:
    store = from_url(url)
    for turn in range(40):
        # A key that nobody used yet makes a new file, and with it a sweep.
        assert store.release(patient(store, f"{name}.{turn}", name).claim)
        key, owner = random.choice("ab"), f"{name}.{turn}"
        lease = patient(store, key, owner)
        begin = time.monotonic()
        time.sleep(0)
        stay = Stay(begin, time.monotonic(), lease.fence, owner)
        assert store.release(lease.claim)
        record(folder / key, stay)


def _look_on(open_store: Opens, key: str, stop: Event) -> None:
    store = open_store()
    while not stop.is_set():
        store.inspect(key)


def _lock_and_fork(open_store: Opens, ready: Connection) -> None:
    # Python 3.12 warns of a fork beside threads, which is what is tried here.
    warnings.simplefilter("ignore", DeprecationWarning)
    os.setpgid(0, 0)
    store = open_store()

    def lock(name: str) -> None:
        for number in range(200):
            take(store, f"{name}: {number}")

    threads = [threading.Thread(target=lock, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        if any(thread.is_alive() for thread in threads) and not os.fork():
            signal.pause()
    ready.send(os.getpid())
    signal.pause()
