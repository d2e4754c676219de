"""Who waits where it asked is told when the key is free."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from celery_locks.guard import Guard
from celery_locks.lease import Lease
from tests.judging import Stay, faults, record, recorded
from tests.stores.contract.asking import Opens, claim, refused, take
from tests.stores.contract.watchers import BOUND, LONG, Waiter, Watched, pause, running, waiting, watched
from tests.stores.processes import Crew, forking
from tests.stores.time_limits import SoftTimeLimit, struck_after
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from celery_locks.stores.base import Store

#: More than these, and it was not the release that woke, but the clock.
FEW = 10


class WatchesContract:
    """For stores that tell when a key may be free."""

    #: How many processes wait for one key, each woken by the one before it.
    waiters: ClassVar[int] = 25
    #: Of a holder that dies.
    ttl_of_the_dead: ClassVar[float] = 1.0

    def test_a_release_wakes_who_waits(self, store: Store, other: Watched, key: str) -> None:
        """Whoever waits has the key soon after its release, and has hardly looked in between."""
        take(store, key)
        with waiting(other, key) as waiter:
            # Long enough for a hundred looks of one who polls.
            pause(1.0)
            assert waiter.lease is None
            assert waiter.watches <= FEW
            assert store.release(claim(key))
            waiter.done()

    def test_a_guard_waits_for_the_word(self, store: Store, other: Watched, key: str) -> None:
        """A claim that waits does not look again and again."""

        def never(_: float) -> None:
            pytest.fail("it slept")

        take(store, key)
        guard = Guard(other, sleep=never)
        with running(lambda: guard.enter(claim(key, "ben"), wait=LONG)) as answers:
            pause(0.5)
            assert store.release(claim(key))
            wait_until(lambda: answers, "the claim that waited to be granted", BOUND)
        assert isinstance(answers[0], Lease)
        assert guard.leave(answers[0])

    def test_a_release_before_the_watch_is_not_missed(self, store: Store, other: Watched, key: str) -> None:
        """A key that was given back after it was found taken, and before the watch, ends the watch at once."""
        for turn in range(10):
            take(store, key, f"anna {turn}")
            refused(other, key)
            assert store.release(claim(key, f"anna {turn}"))
            watched(other, key)

    def test_a_release_as_the_watch_begins_is_not_missed(self, store: Store, other: Watched, key: str) -> None:
        """At whatever moment of its beginning it comes."""
        for turn in range(40):
            take(store, key, f"anna {turn}")
            refused(other, key)
            with waiting(other, key, f"ben {turn}") as waiter:
                pause(turn / 40 * 0.02)
                assert store.release(claim(key, f"anna {turn}"))
                waiter.done()

    def test_a_free_key_is_not_watched(self, other: Watched, key: str) -> None:
        """There is nothing to wait for, also for who has never asked."""
        watched(other, key)
        watched(other, f"{key}:other")
        # It took nothing, either.
        assert take(other, key).held()

    def test_a_watch_ends_at_its_deadline(self, store: Store, other: Watched, key: str) -> None:
        """Though the key stays taken, however often, and however short."""
        take(store, key)
        for seconds in (0.0, 0.0004, 0.01, 0.3):
            refused(other, key)
            watched(other, key, seconds)
        assert refused(other, key).holder == "anna"

    def test_a_dead_holder_wakes_who_waits(self, open_store: Opens, other: Watched, key: str) -> None:
        """Nobody gives its key back, and yet whoever waits has it when it is free."""
        here, there = forking.Pipe(duplex=False)
        with Crew() as crew:
            crew.start(_hold, open_store, key, self.ttl_of_the_dead, there)
            assert here.poll(BOUND), "the holder did not get so far"
            with waiting(other, key) as waiter:
                crew.members[0].kill()
                waiter.done()
                assert waiter.watches <= FEW

    def test_a_forced_release_wakes_who_waits(self, store: Store, other: Watched, key: str) -> None:
        """Whoever gives the key back, and even when its holder does not know."""
        take(store, key)
        with waiting(other, key) as waiter:
            pause(0.2)
            assert other.force_release(key)
            waiter.done()

    # Python itself leaves a socket to be collected that was interrupted while it connected.
    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_an_interrupt_ends_a_watch(self, store: Store, other: Watched, key: str) -> None:
        """A soft time limit is not held up, at whatever moment it strikes, and the store is as good as before."""
        take(store, key)
        refused(other, key, "before")
        for turn in range(10):
            with pytest.raises(SoftTimeLimit), struck_after(0.001 + 0.002 * turn):
                _watch_on(other, key)
        with pytest.raises(SoftTimeLimit), struck_after(0.5):
            _watch_on(other, key)
        with waiting(other, key) as waiter:
            assert store.release(claim(key))
            waiter.done()

    def test_many_threads_wait_at_once(self, store: Store, other: Watched, key: str) -> None:
        """For one key and for several, and leave no thread and no connection behind."""
        keys = [f"{key}:{number % 4}" for number in range(12)]
        for each in sorted(set(keys)):
            take(store, each)
            refused(other, each)
            watched(other, each, 0.1)
        before = _left_open()
        with contextlib.ExitStack() as stack:
            waiters = [stack.enter_context(waiting(other, each, f"ben {at}")) for at, each in enumerate(keys)]
            pause(0.3)
            for each in sorted(set(keys)):
                assert store.release(claim(each))
            for waiter in waiters:
                waiter.done()
        wait_until(lambda: _few_more(before), "the threads and connections of the watches to end")

    def test_a_forked_child_watches_for_itself(self, store: Store, other: Watched, key: str) -> None:
        """Forked while its parent waits, with the same store: both are woken, and neither hears for the other."""
        for name in ("parent", "child"):
            take(store, f"{key}:{name}")
        refused(other, f"{key}:parent")
        with Crew() as crew, waiting(other, f"{key}:parent") as waiter:
            pause(0.2)
            here, there = forking.Pipe(duplex=False)
            crew.start(_wait_in_child, other, f"{key}:child", there)
            assert here.poll(BOUND), "the child did not get so far"
            assert store.release(claim(f"{key}:child"))
            crew.done(BOUND)
            assert waiter.lease is None
            assert store.release(claim(f"{key}:parent"))
            waiter.done()

    def test_a_crowd_is_served(self, open_store: Opens, store: Store, key: str, tmp_path: Path) -> None:
        """Many processes wait for one key: all get it, one at a time, each woken by the one before it."""
        take(store, key, ttl=300)
        with Crew() as crew:
            for number in range(self.waiters):
                crew.start(_wait_in_crowd, open_store, key, f"waiter{number}", tmp_path)
            wait_until(lambda: len(list(tmp_path.glob("*.waits"))) == self.waiters, "all to wait", 90)
            assert store.release(claim(key))
            crew.done()
        stays = recorded(tmp_path)
        assert len(stays) == self.waiters
        assert faults(stays) == []


def _watch_on(store: Watched, key: str) -> None:
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        store.watch(key, LONG)
    pytest.fail("nothing struck")


def _left_open() -> tuple[int, Counter[str]]:
    files = len(list(Path("/proc/self/fd").iterdir())) if os.path.exists("/proc/self/fd") else 0  # noqa: PTH110
    return files, Counter(thread.name.rstrip("0123456789-") for thread in threading.enumerate())


def _few_more(before: tuple[int, Counter[str]]) -> bool:
    """Whether no more threads are left than before, and only such connections as verbs keep."""
    files, threads = _left_open()
    return threads <= before[1] and files <= before[0] + 12


def _hold(open_store: Opens, key: str, ttl: float, ready: Connection) -> None:
    ready.send(take(open_store(), key, "holder", ttl).fence)
    signal.pause()


def _wait_in_child(store: Watched, key: str, ready: Connection) -> None:
    refused(store, key)
    ready.send("waits")
    Waiter(store, key, "child").wait()


def _wait_in_crowd(open_store: Callable[[], Watched], key: str, name: str, folder: Path) -> None:
    with contextlib.closing(open_store()) as store:
        refused(store, key, f"{name} before")
        (folder / f"{name}.waits").touch()
        Waiter(store, key, name, lambda lease: record(folder, _stay(lease, name))).wait()


def _stay(lease: Lease, name: str) -> Stay:
    begin = time.monotonic()
    time.sleep(random.uniform(0, 0.003))
    return Stay(begin, time.monotonic(), lease.fence, name)
