"""How tests wait for a word of the store."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from celery_locks.lease import Claim, Lease, new_owner
from celery_locks.stores.base import Store, Watches
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A watch for so long, of which a test waits a part only: whoever was not woken is found out.
LONG, BOUND = 120.0, 30.0


class Watched(Store, Watches):
    """What the tests of watches need of a store: its verbs and its watches. Never made."""


class Waiter:
    """Asks for a key, and watches it until it is had, counting how often; works, and gives it back."""

    def __init__(self, store: Watched, key: str, owner: str, work: Callable[[Lease], object] = id) -> None:
        self.store = store
        self.claim = Claim(key, f"{owner} {new_owner()}", 30.0)
        self.work = work
        self.watches = 0
        self.lease: Lease | None = None

    def wait(self) -> None:
        """Until it has had the key."""
        while not isinstance(answer := self.store.acquire(self.claim), Lease):
            self.watches += 1
            self.store.watch(self.claim.key, LONG)
        self.work(answer)
        assert self.store.release(self.claim)
        self.lease = answer

    def done(self) -> None:
        """It is woken by now, and has had the key."""
        wait_until(lambda: self.lease, f"{self.claim.owner} to be woken", BOUND)


@contextlib.contextmanager
def waiting(store: Watched, key: str, owner: str = "ben") -> Iterator[Waiter]:
    """One who waits for a key in a thread, and has been told that it is taken."""
    waiter = Waiter(store, key, owner)
    with running(waiter.wait):
        wait_until(lambda: waiter.watches or waiter.lease, "the key to be asked for")
        yield waiter


@contextlib.contextmanager
def running(job: Callable[[], object]) -> Iterator[list[object]]:
    """What comes of a job in a thread, which has ended by itself at the end."""
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(job()), daemon=True)
    thread.start()
    yield answers
    thread.join(BOUND)
    assert not thread.is_alive()


def watched(store: Watched, key: str, seconds: float = LONG) -> None:
    """A watch that soon ends."""
    with running(lambda: store.watch(key, seconds)) as answers:
        wait_until(lambda: answers, f"the end of a watch for {seconds:g} s", BOUND)


def pause(seconds: float) -> None:
    """Let so much time pass."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, f"{seconds:g} s to pass")
