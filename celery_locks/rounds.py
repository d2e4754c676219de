"""A thread that goes its rounds: at work when something is due, asleep until then, gone when long idle."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("celery_locks.rounds")

#: A thread with nothing to do ends after this many seconds.
IDLE = 30.0
#: A step that failed is tried again after this many seconds.
AFTER_FAILURE = 1.0
#: What ends a job, our own signal and that of a soft time limit. One that comes to another thread than the main one
#: interrupts nothing. Only these: what a receiver of our events starts has the mask of the thread that calls it.
_NOT_OURS = {signal.SIGURG, signal.SIGUSR1}


def leave_signals_to_main() -> None:
    """Let no signal come to this thread that is to interrupt what the main thread does."""
    # With gevent and eventlet a thread is a greenlet, and may be one of the main thread.
    if threading.get_native_id() != threading.main_thread().native_id:
        signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_OURS)


class Rounds:
    """One such thread. `due` says when `step` is next to be done, or None; both are called from the thread.

    `mutex` guards what they look at, and is shared by all threads that look at the same. It is a plain lock, whose
    `with` is one step: a soft time limit that strikes inside that of a `Condition` leaves it locked for good.
    """

    def __init__(
        self,
        name: str,
        mutex: threading.Lock,
        step: Callable[[], None],
        due: Callable[[], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.thread: threading.Thread | None = None
        self._name = name
        self._mutex = mutex
        self._sooner = threading.Condition(mutex)
        self._step = step
        self._due = due
        self._clock = clock
        #: When it is awake next. Whoever finds a time that suits need not take the mutex: it is infinite while the
        #: thread makes up its mind, so that what was not there yet when it looked is not taken for seen.
        self.wakes_at = 0.0

    def expect(self, due: float) -> None:
        """Be awake at that time, or before. The mutex is held."""
        if self.thread is None or not self.thread.is_alive():
            self.thread = threading.Thread(target=self._go, name=f"celery_locks-{self._name}", daemon=True)
            self.thread.start()
        elif due < self.wakes_at:
            self._sooner.notify()

    def _go(self) -> None:
        leave_signals_to_main()
        # An interrupt may strike after the start of one thread and before that is known: the last one started stays.
        while self.thread is threading.current_thread():
            self._done()
            with self._mutex:
                self.wakes_at = math.inf
                due = self._due()
                longest = self._clock() + IDLE
                self.wakes_at = longest if due is None else min(due, longest)
                self._sooner.wait(max(0.0, self.wakes_at - self._clock()))
                if due is None and self._due() is None:
                    self.thread = None

    def _done(self) -> None:
        try:
            self._step()
        except Exception:
            # Whatever it is, it must not end the rounds, on which other people's leases depend.
            logger.exception("%s failed, and is tried again in a second", self._name)
            time.sleep(AFTER_FAILURE)
