"""A soft time limit, a lost lease or Ctrl-C may strike at any step: what was taken is given back all the same."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks import Locks, current_lease
from celery_locks.errors import LockError
from celery_locks.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "wallet:42"
#: Before these have begun nothing has been given back, as before any other call: Python offers no cover there.
NOT_YET_BEGUN = ("Lock.__exit__", "Lock.release", "Lock.lease", "surely")
OURS = ("celery_locks", "threading.py")


class Interrupt(BaseException):
    """What a signal's handler raises."""


class Failure(Exception):
    """What a job's body raises."""


class Interrupter:
    """Raises at the n-th place where CPython looks for signals: where a function begins, and after a call into C."""

    def __init__(self, ours: tuple[str, ...] = OURS) -> None:
        self.where: str | None = None
        self._ours = ours
        self._left = 0

    def run(self, step: int, work: Callable[[], object]) -> None:
        self.where, self._left = None, step
        sys.setprofile(self._look)
        try:
            # Where it strikes inside the standard library, that may say something else instead.
            with contextlib.suppress(Interrupt, RuntimeError):
                work()
        finally:
            sys.setprofile(None)

    def _look(self, frame: Any, event: str, _argument: object) -> None:
        if event not in ("call", "c_return") or not any(name in frame.f_code.co_filename for name in self._ours):
            return
        self._left -= 1
        if self._left == 0:
            sys.setprofile(None)
            self.where = f"{frame.f_code.co_qualname}:{frame.f_lineno}, {event}"
            raise Interrupt


def interrupted_everywhere(locks: Locks, work: Callable[[], object]) -> Iterator[str]:
    """Do the work over and over, interrupted one step later each time, until it comes through; say where it was."""
    for step in range(1, 10_000):
        interrupter = Interrupter()
        interrupter.run(step, work)
        if interrupter.where is None:
            return
        yield interrupter.where
        locks.guard.keeper._watched.clear()
        locks.force_release(KEY)
    raise AssertionError("the work never came through")


def leftovers(locks: Locks) -> list[str]:
    """What an interrupted piece of work has left behind."""
    keeper = locks.guard.keeper
    found = []
    if keeper._mutex.locked() or keeper._beating.locked():
        found.append("a mutex of the keeper, locked for good")
    if keeper._watched:
        found.append("a lease that is kept for ever")
    if locks.locked(KEY):
        found.append("its key")
    with contextlib.suppress(LockError):
        found.append(f"a current lease: {current_lease()}")
    return found


@pytest.fixture
def locks() -> Iterator[Locks]:
    made = Locks(MemoryStore())
    # The keeper's threads are there already, and would not be profiled.
    made.run("warm", lambda: None, heartbeat=True)
    yield made
    made.guard.keeper._watched.clear()


def a_job(locks: Locks) -> None:
    locks.run(KEY, lambda: None, heartbeat=True)


def a_job_that_renews(locks: Locks) -> None:
    locks.run(KEY, lambda: current_lease().renew(10), heartbeat=True)


def an_acquire_and_a_release(locks: Locks) -> None:
    lock = locks.lock(KEY, heartbeat=True)
    try:
        lock.acquire()
    finally:
        # Its caller gives back what it sees that it has.
        if lock.lease:
            lock.release()


@pytest.mark.parametrize("work", [a_job, a_job_that_renews, an_acquire_and_a_release])
def test_an_interrupt_leaves_nothing_behind(locks: Locks, work: Callable[[Locks], None]) -> None:
    """Wherever it strikes, the key is free afterwards, nobody beats for it, and the keeper goes on."""
    struck = 0
    for where in interrupted_everywhere(locks, lambda: work(locks)):
        struck += 1
        if not where.startswith(NOT_YET_BEGUN):
            assert leftovers(locks) == [], f"interrupted at {where}"
    assert struck > 50


def test_an_interrupt_while_a_failed_job_ends_leaves_nothing_behind(locks: Locks) -> None:
    """The body has failed, and the interrupt strikes while its key is given back: tried once more."""

    def fails() -> None:
        sys.setprofile(look)
        raise Failure

    struck = 0
    for step in range(1, 10_000):
        interrupter = Interrupter()
        interrupter._left, look = step, interrupter._look
        with pytest.raises((Failure, Interrupt)):
            locks.run(KEY, fails, heartbeat=True)
        sys.setprofile(None)
        if interrupter.where is None:
            break
        struck += 1
        assert leftovers(locks) == [], f"interrupted at {interrupter.where}"
    assert struck > 10


def test_an_interrupt_in_a_with_leaves_the_keeper_alive(locks: Locks) -> None:
    """Nothing is left but where the interrupt strikes before the first step of `__exit__`, which nobody can cover."""

    def work() -> None:
        with locks.lock(KEY, heartbeat=True):
            pass

    for where in interrupted_everywhere(locks, work):
        if not where.startswith(NOT_YET_BEGUN):
            assert leftovers(locks) == [], f"interrupted at {where}"
        assert not locks.guard.keeper._mutex.locked(), where


def test_the_keeper_survives_a_thread_that_was_interrupted_before_it_began() -> None:
    """A thread that was made and not started is no thread: the next lease starts another."""
    keeper = Locks(MemoryStore()).guard.keeper
    keeper._beats.thread = threading.Thread(target=print)
    with keeper._mutex:
        keeper._beats.expect(0.0)
    assert keeper._beats.thread.is_alive()
