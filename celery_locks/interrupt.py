"""Ends a job whose lease is lost, from outside, the way a soft time limit does: by a signal to its thread."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from celery_locks.lease import State
from celery_locks.loss import tell
from celery_locks.rounds import leave_signals_to_main

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from celery_locks.lease import Lease

logger = logging.getLogger("celery_locks.interrupt")

#: Ignored by default everywhere, so that one that comes too late does no harm.
SIGNAL = signal.SIGURG

#: A job that has not heard of its loss is struck again after this many seconds.
AGAIN = 0.05
#: A process that ends itself waits no longer for its log, in seconds.
LAST_WORDS = 0.1

_running: list[Interruption] = []
#: The lease whose loss ends this process.
_ending: list[Lease] = []
_previous: Any = None


class Interruption:
    """While its body runs in the main thread, `fire` raises `LockLost` there, in a blocked system call too.

    A job in another thread cannot be interrupted: it learns of the loss from its lease.
    """

    def __init__(self) -> None:
        self._lease: Lease | None = None
        self._kept: Lease | None = None
        self._asks = self._is_over = False
        self._main = threading.current_thread() is threading.main_thread()

    def heeds(self, lease: Lease) -> None:
        """Where another process keeps this lease, that sends the signal, and the lease hears what became of it."""
        if lease.news is not None:
            self._kept = lease

    def __enter__(self) -> None:
        if self._main:
            _listen()
            _running.append(self)
            self._raise_if_fired()

    def __exit__(self, *_: object) -> None:
        if self._main:
            _running.remove(self)

    def fire(self, lease: Lease) -> None:
        """Raise `LockLost` in the body, if it still runs."""
        self._lease = lease
        if self._main and not self._asks:
            signal.pthread_kill(_main_ident(), SIGNAL)
            threading.Thread(target=self._insist, name="celery_locks-strike", daemon=True).start()

    def _insist(self) -> None:
        """Strike until it is heard: a signal that comes just before a system call does not interrupt that."""
        leave_signals_to_main()
        time.sleep(AGAIN)
        while self in _running and not self._is_over:
            signal.pthread_kill(_main_ident(), SIGNAL)
            time.sleep(AGAIN)

    def _raise_if_fired(self) -> None:
        # It may have been lost between the acquire and the body.
        lease = self.due()
        if lease is not None:
            _running.remove(self)
            raise lease.loss()

    def due(self) -> Lease | None:
        """The lost lease, once."""
        if self._is_over:
            return None
        lease = self._lease or self._told()
        self._is_over = lease is not None
        return lease

    def _told(self) -> Lease | None:
        if self._kept is None:
            return None
        self._asks = True
        try:
            self._kept.hear()
        finally:
            # A soft time limit may strike there.
            self._asks = False
        return self._kept if self._kept.state is State.LOST else None


def kill(lease: Lease) -> None:
    """End this process: nobody else can hold the key before it is gone."""
    _ending.append(lease)
    # A log may be a full pipe. The start of a `Thread` takes a lock that whoever is interrupted here may have.
    said = threading.Lock()
    try:
        said.acquire()
        _thread.start_new_thread(_say_killed, (lease, said))
        said.acquire(timeout=LAST_WORDS)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def _say_killed(lease: Lease, said: threading.Lock) -> None:
    leave_signals_to_main()
    logger.critical("the lease of %r is lost: ending process %d (lock_on_lost='kill')", lease.key, os.getpid())
    if lease.news is None:
        # Nobody else knows of it who could.
        tell(lease)
    said.release()


def await_end() -> None:
    """Wait to be ended, where that is under way: it is not to hit the next job."""
    if _ending:
        time.sleep(2 * LAST_WORDS)


def _main_ident() -> int:
    ident = threading.main_thread().ident
    if ident is None:
        raise RuntimeError("the main thread has no identity")
    return ident


def _listen() -> None:
    global _previous  # noqa: PLW0603 - a process has one handler for a signal
    if signal.getsignal(SIGNAL) is not _on_signal:
        _previous = signal.signal(SIGNAL, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    for running in reversed(_running):
        lease = running.due()
        if lease is not None:
            raise lease.loss()
    previous: Callable[..., Any] | Any = _previous
    if callable(previous):
        previous(number, frame)
