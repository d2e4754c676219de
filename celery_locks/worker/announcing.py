"""Sends what happens to locks as Celery's own events, where a worker sends those of its tasks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from celery_locks import signals

if TYPE_CHECKING:
    from celery_locks.events import Event

logger = logging.getLogger("celery_locks.worker")

#: Of those that a broker is too slow for the latest are kept.
REMEMBERED = 10_000
#: A broker that takes none is tried again after so many seconds.
PAUSE = 5.0
#: Fields that an event of Celery has by itself, and those that have another name there.
_THEIRS = {"pid": "process", "worker": "", "task": "name", "task_id": "uuid"}
#: All but the beats, which are many and tell nothing of a job.
_SIGNALS = [each for each in vars(signals).values() if isinstance(each, signals.Signal) and each is not signals.beat]


class Announcer:
    """Sends events from a thread of each process: no job waits for a broker because somebody watches.

    What cannot be sent is dropped, and so is what a process has not sent when it ends.
    """

    def __init__(self, app: Any, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._begin()

    def install(self) -> None:
        """Send all events from now on, also those of processes that are forked later."""
        for signal in _SIGNALS:
            signal.connect(self.announce)

    def uninstall(self) -> None:
        """Send no more."""
        for signal in _SIGNALS:
            signal.disconnect(self.announce)

    def announce(self, event: Event) -> None:
        """Have it sent soon."""
        if self._pid != os.getpid():
            # The parent's thread is not here, and may have had a lock when we were forked.
            self._begin()
        self._queue.append((time.time(), event))
        self._is_something.set()
        if self._thread is None:
            self._start()

    def _begin(self) -> None:
        self._queue: deque[tuple[float, Event]] = deque(maxlen=REMEMBERED)
        self._is_something = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        # Last: before that another thread begins anew as well, and nothing is half made.
        self._pid = os.getpid()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="celery_locks-announcer", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        while True:
            self._is_something.wait()
            self._is_something.clear()
            try:
                self.send()
            except Exception as error:  # noqa: BLE001 - whatever a transport raises, and it may name a password
                dropped, why = len(self._queue) + 1, type(error).__name__
                self._queue.clear()
                logger.warning("%d events of locks are dropped, the broker takes none: %s", dropped, why)
                time.sleep(PAUSE)

    def send(self) -> None:
        """Send what is there."""
        with self._app.events.default_dispatcher(hostname=self._hostname) as dispatcher:
            while self._queue:
                when, event = self._queue.popleft()
                dispatcher.send(_type(event), timestamp=when, **_fields(event))


def _type(event: Event) -> str:
    # Not task-...: whoever follows tasks would take that for a new state of the task.
    return f"lock-{type(event).__name__.lower()}"


def _fields(event: Event) -> dict[str, Any]:
    named = ((_THEIRS.get(name, name), value) for name, value in asdict(event).items())
    return {name: value for name, value in named if name}
