"""What kazoo's thread answers to another, made so that an interrupt while it is awaited breaks nothing.

kazoo waits on conditions, whose `with` is many steps. A soft time limit or Ctrl-C that strikes between two of them
leaves the condition locked, and kazoo's thread, which wants it next, stops for good: it is what keeps the session.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger("celery_locks.zookeeper")


class Answer:
    """One answer, and one who waits for it. It may be given twice, by a connection that broke: the last one counts."""

    def __init__(self) -> None:
        self.exception: Exception | None = None
        self.value: Any = None
        self._given = False
        self._told: deque[Callable[[Answer], object]] = deque()
        self._silence = threading.Lock()
        self._silence.acquire()

    def ready(self) -> bool:
        """Whether it was given."""
        return self._given

    def set(self, value: Any = None) -> None:
        """Give it."""
        self.value = value
        self._give()

    def set_exception(self, error: Exception) -> None:
        """Say what went wrong instead."""
        self.exception = error
        self._give()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - as kazoo has it
        """The answer, or what went wrong; `KazooTimeoutError` when it does not come in time."""
        if not self._given and block:
            self._silence.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
        if not self._given:
            raise KazooTimeoutError("no answer in time")
        if self.exception is not None:
            raise self.exception
        return self.value

    def rawlink(self, callback: Callable[[Answer], object]) -> None:
        """Call this with the answer, once, from the thread that gives it."""
        self._told.append(callback)
        if self._given:
            self._tell()

    def _give(self) -> None:
        self._given = True
        with contextlib.suppress(RuntimeError):
            self._silence.release()
        self._tell()

    def _tell(self) -> None:
        while self._told:
            with contextlib.suppress(IndexError):
                self._told.popleft()(self)


class Gate:
    """What kazoo calls an event."""

    def __init__(self) -> None:
        self._open = False
        self._waiting: deque[threading.Lock] = deque()

    def is_set(self) -> bool:
        """Whether whoever comes may pass."""
        return self._open

    def set(self) -> None:
        """Let all pass."""
        self._open = True
        while self._waiting:
            with contextlib.suppress(IndexError, RuntimeError):
                self._waiting.popleft().release()

    def clear(self) -> None:
        """Let nobody pass any more."""
        self._open = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open; False when it was not in time."""
        here = threading.Lock()
        here.acquire()
        self._waiting.append(here)
        # It may have opened before we stood in line.
        if not self._open:
            here.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
        with contextlib.suppress(ValueError):
            self._waiting.remove(here)
        return self._open


class Handler(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's threads, with our answers between them."""

    def __init__(self, connect_timeout: float) -> None:
        super().__init__()
        self._connect_timeout = connect_timeout
        self.look_after: Callable[[], float] = lambda: math.inf

    def select(self, readers: Sequence[Any], writers: Sequence[Any], others: Sequence[Any], timeout: float) -> Any:
        """As kazoo's. Where its thread waits for whatever comes, it looks after the session meanwhile."""
        if len(readers) == 1 or writers:
            return super().select(readers, writers, others, timeout)
        end = time.monotonic() + timeout
        while True:
            wait = min(self.look_after(), end - time.monotonic())
            found = super().select(readers, writers, others, max(0.0, wait))
            if any(found) or time.monotonic() >= end:
                return found

    def async_result(self) -> Answer:
        return Answer()

    def event_object(self) -> Gate:
        return Gate()

    def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Left alone, kazoo would wait for one silent host as long as the whole session lasts."""
        timeout = min(kwargs.pop("timeout", None) or self._connect_timeout, self._connect_timeout)
        return super().create_connection(*args, timeout=timeout, **kwargs)
