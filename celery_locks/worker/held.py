"""A job that waits in a worker for its turn, and what starts it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.worker.request import LockedRequest

logger = logging.getLogger("celery_locks.worker")


class Caller:
    """Starts jobs of a worker before their countdown is over, in the thread that would have started them then."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._called: deque[Held] = deque()
        # Whatever is opened after the pipe was closed may have its number: nobody writes then.
        self._mutex = threading.Lock()
        self._pipe: tuple[int, int] | None = None
        if consumer.hub is not None:
            self._pipe = os.pipe()
            for end in self._pipe:
                os.set_blocking(end, False)
            consumer.hub.add_reader(self._pipe[0], self._start_all)
        self._open = True

    def call(self, held: Held) -> None:
        """Start it soon. From any thread."""
        with self._mutex:
            if not self._open:
                return
            self._called.append(held)
            if self._pipe is None:
                self._consumer.timer.call_after(0, self._start_all)
            else:
                # A full pipe has woken the loop already.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._pipe[1], b"!")

    def close(self) -> None:
        """Start no more."""
        with self._mutex:
            self._open = False
            self._called.clear()
            if self._pipe is not None:
                self._consumer.hub.remove_reader(self._pipe[0])
                for end in self._pipe:
                    os.close(end)

    def _start_all(self) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._pipe[0], 4096)
        while self._called:
            held = self._called.popleft()
            try:
                held.start()
            except Exception:
                # As a timer does, and not as the loop does, which would end the worker.
                logger.exception("a job that waits could not be started; the others are")


class Held:
    """One such job. It is started once, by its turn or when its time is over, whichever comes first.

    `more` gives the seconds for which it may wait longer when its time is over, or None; `leave` is called before it
    starts. While `may_start` says no it is not started; it is called again then.
    """

    def __init__(
        self,
        request: LockedRequest,
        *,
        more: Callable[[], float | None],
        leave: Callable[[], None],
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:
        self._request: LockedRequest | None = request
        self._more = more
        self._leave = leave
        self._may_start = may_start
        self._mutex = threading.Lock()
        self._once: Callable[[], None] | None = None
        self._again: Callable[[float], Any] | None = None
        self._entry: Any = None
        self._eta = 0.0
        self._early = False

    def timed(self, plain: Callable[..., Any], eta: float, fun: Callable[..., None], args: Any, **named: Any) -> Any:
        """Set the timer that starts it when its time is over, unless its turn has come before that could be set."""
        self._once = partial(fun, *args)
        # The arguments are what Celery looks through for those who wait.
        self._again = lambda when: plain(when, self._over, args, **named)
        self._eta = eta
        self._entry = self._again(eta)
        if self._early:
            self.start()
        return self._entry

    def start(self) -> None:
        """Start it, if it was not."""
        # Where timers have a thread of their own, a turn may come before the timer is set.
        self._early = True
        if self._once is None or not self._may_start():
            return
        # Its turn and its time may come at once, in two threads.
        with self._mutex:
            once, self._once = self._once, None
        if once is not None:
            self._leave()
            once()
            self._forget()

    def _over(self, *_: Any) -> None:
        again, request = self._again, self._request
        seconds = self._more() if self._once and again else None
        if seconds is None or not again or not request:
            self.start()
            return
        self._eta += seconds
        self._clear()
        self._entry = again(self._eta)
        request.timed(self._entry)

    def _forget(self) -> None:
        """Keep nothing of the job alive: the timer keeps us until the time is over."""
        self._clear()
        self._request = self._again = None
        self._more, self._leave, self._may_start = lambda: None, lambda: None, lambda: True

    def _clear(self) -> None:
        # Green timers keep what they were given a step further in.
        entry = getattr(self._entry, "entry", self._entry)
        if entry is not None:
            entry.args = ()
