"""Many processes and one key."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import time
from typing import TYPE_CHECKING, ClassVar

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease
from tests.judging import Stay, faults, record, recorded
from tests.stores.contract.asking import Opens, claim, refused, take
from tests.stores.processes import Crew, forking
from tests.waiting import wait_until

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

    from celery_locks.lease import Claim
    from celery_locks.stores import Store


_tries = itertools.count(1)
#: Seconds in which all have come, and have their answers, on a machine that has much else to do.
TOGETHER = 120


class ProcessContract:
    """For stores that lock between processes. Every contender is a process of its own with a store of its own."""

    #: How many contend. Each is forked, asks until it is its turn, and stays for a moment.
    contenders: ClassVar[int] = 125
    #: How often each of twelve counts on.
    increments: ClassVar[int] = 25

    def test_contenders_hold_one_at_a_time(self, open_store: Opens, key: str, tmp_path: Path) -> None:
        """No two of 125 processes hold a key together, and their fences grow in the order of their turns."""
        with Crew() as crew:
            for number in range(self.contenders):
                crew.start(_stay, open_store, key, f"contender {number}", tmp_path)
            crew.done()
        stays = recorded(tmp_path)
        assert len(stays) == self.contenders
        assert faults(stays) == []

    def test_one_of_all_wins(self, open_store: Opens, key: str, tmp_path: Path) -> None:
        """Of 125 processes that ask once at the same moment exactly one gets the key."""
        barrier = forking.Barrier(self.contenders)
        with Crew() as crew:
            for number in range(self.contenders):
                crew.start(_try_once, open_store, key, f"contender {number}", barrier, tmp_path)
            crew.done()
        assert len(list(tmp_path.glob("asked*"))) == self.contenders
        assert len(list(tmp_path.glob("won*"))) == 1

    def test_an_unprotected_counter_is_exact(self, open_store: Opens, key: str, tmp_path: Path) -> None:
        """A number in a file, read and written back under the lock by many processes, misses no increment."""
        counter = tmp_path / "counter"
        counter.write_text("0")
        with Crew() as crew:
            for number in range(12):
                crew.start(_count, open_store, key, f"counter {number}", counter, self.increments)
            crew.done()
        assert counter.read_text() == str(12 * self.increments)

    def test_a_store_opened_before_the_fork_works_after_it(self, store: Store, key: str) -> None:
        """Parent and children use one store object at once, and nobody hears another's answer."""
        take(store, f"{key}:before")
        assert store.release(claim(f"{key}:before"))
        with Crew() as crew:
            for number in range(4):
                crew.start(_alone, store, f"{key}:{number}")
            _alone(store, f"{key}:parent")
            crew.done()


def _stay(open_store: Opens, key: str, owner: str, folder: Path) -> None:
    with contextlib.closing(open_store()) as store:
        lease = _pressing(store, key, owner)
        begin = time.monotonic()
        time.sleep(random.uniform(0, 0.003))
        stay = Stay(begin, time.monotonic(), lease.fence, owner)
        _give_back(store, lease.claim)
        record(folder, stay)


def _give_back(store: Store, held: Claim) -> None:
    """Release it, and again when a server that so many press upon gave no answer: a release may be repeated."""

    def released() -> bool:
        try:
            return store.release(held)
        except StoreUnavailable:
            return False

    wait_until(released, f"{held.key!r} to be given back by {held.owner}", 60)


def _try_once(open_store: Opens, key: str, owner: str, barrier: Barrier, folder: Path) -> None:
    with contextlib.closing(open_store()) as store:
        barrier.wait(TOGETHER)
        answer = _asked(store, key, owner)
        (folder / f"{'won' if isinstance(answer, Lease) else 'lost'}-{os.getpid()}").touch()
        (folder / f"asked-{os.getpid()}").touch()
        # The winner leaves when all have asked, or a late one would win as well.
        barrier.wait(TOGETHER)


def _asked(store: Store, key: str, owner: str) -> Lease | Busy:
    """What the store answers. A server that so many press upon may give none: then it is asked in a new name."""

    def answered() -> Lease | Busy | None:
        with contextlib.suppress(StoreUnavailable):
            # Whoever gave up is done with the key.
            return store.acquire(claim(key, f"{owner}, try {next(_tries)}"))
        return None

    return wait_until(answered, f"an answer for {owner}", TOGETHER)


def _pressing(store: Store, key: str, owner: str) -> Lease:
    """Ask until it is our turn."""

    def got() -> Lease | None:
        answer = _asked(store, key, owner)
        return answer if isinstance(answer, Lease) else None

    # Those that ask in step would ask all at once for ever, and a crowd that asks more often does little else.
    return wait_until(got, f"{key!r} to be free for {owner}", 2 * TOGETHER, interval=random.uniform(0.01, 0.08))


def _count(open_store: Opens, key: str, owner: str, counter: Path, times: int) -> None:
    with contextlib.closing(open_store()) as store:
        for turn in range(times):
            lease = _pressing(store, key, f"{owner}.{turn}")
            seen = int(counter.read_text())
            time.sleep(0)
            counter.write_text(str(seen + 1))
            _give_back(store, lease.claim)


def _alone(store: Store, key: str) -> None:
    for turn, owner in itertools.product(range(25), ("anna", "ben")):
        assert take(store, key, f"{owner} {turn}").owner == f"{owner} {turn}"
        assert refused(store, key, "cleo").holder == f"{owner} {turn}"
        assert store.release(claim(key, f"{owner} {turn}"))
