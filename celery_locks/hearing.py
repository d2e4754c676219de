"""Hears the wakes of a store, in a thread of its own, for as long as somebody waits for one."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from celery_locks.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.base import Listening, Wake

logger = logging.getLogger("celery_locks.waker")

#: A wake is awaited in pieces of this length, so that a thread with nobody to wake can end.
PATIENCE = 5.0
#: It ends when nobody has waited for so long: who waits next need not subscribe again.
IDLE = 30.0
#: After an outage the store is asked again this soon.
AGAIN = 1.0
#: Each further time it takes twice as long, up to this.
RARELY = 30.0


class Audience(NamedTuple):
    """For whom wakes are heard. `begins` is called with the mutex held."""

    begins: Callable[[], None]
    woken: Callable[[Wake], None]
    waits: Callable[[], bool]


class Hearing:
    """One subscription to a store's wakes, that is made again when it breaks."""

    def __init__(
        self, listen: Callable[[], Listening], audience: Audience, mutex: threading.Lock, clock: Callable[[], float]
    ) -> None:
        self.thread: threading.Thread | None = None
        #: Whether a wake would be heard now, and since when.
        self.hears = False
        self.since = math.inf
        self._listen = listen
        self._audience = audience
        self._mutex = mutex
        self._clock = clock
        self._idle_at = 0.0
        self._failures = 0

    def start(self) -> None:
        """Somebody waits: hear from now on. With the mutex held."""
        self._idle_at = self._clock() + IDLE
        if self.thread is None or not self.thread.is_alive():
            self.thread = threading.Thread(target=self._hear, name="celery_locks-listener", daemon=True)
            self.thread.start()

    def _hear(self) -> None:
        while self.thread is threading.current_thread():
            try:
                self._hear_all()
            except StoreUnavailable as error:
                pause = min(AGAIN * 2**self._failures, RARELY)
                self._failures += 1
                logger.warning("wakes are not heard, jobs come by their countdown: %s; again in %g s", error, pause)
                time.sleep(pause)
            except Exception:
                # Whatever it is, those who wait must be heard.
                logger.exception("listening failed; wakes are heard again in %g s", AGAIN)
                time.sleep(AGAIN)
            with self._mutex:
                if not self._is_needed():
                    self.thread = None

    def _hear_all(self) -> None:
        listening = self._listen()
        try:
            with self._mutex:
                self.hears, self.since, self._failures = True, self._clock(), 0
                self._audience.begins()
            while self._is_needed():
                for wake in listening.heard(PATIENCE):
                    self._audience.woken(wake)
        finally:
            self.hears = False
            listening.close()

    def _is_needed(self) -> bool:
        if self._audience.waits():
            self._idle_at = self._clock() + IDLE
            return True
        return self._clock() < self._idle_at
