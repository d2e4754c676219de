"""Locks that live in a connection or an open file."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from celery_locks.lease import Verdict
from tests.stores.contract.asking import Opens, patient, refused, take, verdict
from tests.stores.processes import Crew, forking
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from celery_locks.stores import Store


class ConnectionContract:
    """For stores whose locks live in a connection or an open file, and end with their process."""

    def test_a_lease_has_no_ttl(self, store: Store, other: Store, key: str) -> None:
        """There is no time after which it ends, and nobody is told one."""
        assert store.in_connection
        lease = take(store, key, ttl=0.1)
        assert lease.deadline is None
        assert lease.remaining is None
        assert refused(other, key).remaining is None

    def test_a_lease_outlives_its_ttl(self, store: Store, other: Store, key: str) -> None:
        """A ttl that passes without renewal frees nothing."""
        start = time.monotonic()
        lease = take(store, key, ttl=0.1)
        wait_until(lambda: time.monotonic() > start + 0.3, "three ttls to pass")
        refused(other, key)
        assert lease.held()
        assert verdict(store, lease) is Verdict.RENEWED

    def test_a_killed_holder_frees_its_key(self, open_store: Opens, other: Store, key: str) -> None:
        """The end of its process ends a lock, without a word from it, and the next fence is higher."""
        with Crew() as crew:
            fence = _fence_of(crew, _hold, open_store, key)
            refused(other, key)
            crew.members[0].kill()
            assert patient(other, key, "ben", timeout=10).fence > fence

    def test_a_child_does_not_keep_the_key_of_its_parent(self, open_store: Opens, other: Store, key: str) -> None:
        """A child forked by the holder, and alive after the holder was killed, keeps no key taken."""
        with Crew() as crew:
            child = _fence_of(crew, _hold_and_fork, open_store, key)
            try:
                crew.members[0].kill()
                assert patient(other, key, "ben", timeout=10).owner == "ben"
                os.kill(child, 0)
            finally:
                os.kill(child, signal.SIGKILL)

    def test_a_child_does_not_free_the_key_of_its_parent(self, store: Store, other: Store, key: str) -> None:
        """A forked child that uses the store, releases, closes it and ends takes nothing from the holder."""
        lease = take(store, key)

        def meddle() -> None:
            assert not store.release(lease.claim)
            assert verdict(store, lease) is Verdict.LOST
            refused(store, key, "anna")
            take(store, f"{key}:child", "child")
            store.close()

        with Crew() as crew:
            crew.start(meddle)
            crew.done()
        refused(other, key)
        assert verdict(store, lease) is Verdict.RENEWED
        take(other, f"{key}:child", "ben")
        assert store.release(lease.claim)


def _fence_of(crew: Crew, job: Callable[..., None], *arguments: object) -> int:
    """Start a holder, and give the number it sends once it holds."""
    here, there = forking.Pipe(duplex=False)
    crew.start(job, *arguments, there)
    there.close()
    assert here.poll(30), "the holder did not get so far"
    number = here.recv()
    assert isinstance(number, int)
    return number


def _hold(open_store: Opens, key: str, ready: Connection) -> None:
    store = open_store()
    ready.send(take(store, key, "holder").fence)
    signal.pause()


def _hold_and_fork(open_store: Opens, key: str, ready: Connection) -> None:
    store = open_store()
    take(store, key, "holder")
    child = os.fork()
    if child:
        ready.send(child)
    signal.pause()
