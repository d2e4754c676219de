"""Shows that jobs wait, in a thread of its own: a result backend that is slow or down holds up nobody's turn."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Busy

logger = logging.getLogger("celery_locks.worker")


class Notice:
    """What is shown of one job that waits: once at most, and not once it has started, for its end may be shown then."""

    def __init__(self, show: Callable[[Busy], None]) -> None:
        self._show: Callable[[Busy], None] | None = show
        self._mutex = threading.Lock()
        self._is_shown_now = False
        self._then: Callable[[], None] | None = None

    def give(self, busy: Busy) -> None:
        """Show it, unless it was withdrawn."""
        with self._mutex:
            show, self._show = self._show, None
            self._is_shown_now = show is not None
        try:
            if show:
                show(busy)
        finally:
            with self._mutex:
                self._is_shown_now = False
                then, self._then = self._then, None
            if then:
                then()

    def withdrawn(self, then: Callable[[], None]) -> bool:
        """Show it no more. False when it is being shown at this moment: `then` is called when that is over."""
        with self._mutex:
            self._show = None
            if self._is_shown_now:
                self._then = then
            return not self._is_shown_now


class News:
    """Something to be told, that concerns nobody's turn."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def give(self, _: Busy) -> None:
        """Tell it."""
        self._tell()


class Teller:
    """The thread that shows notices, one after the other."""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[tuple[Notice | News, Busy]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def tell(self, notice: Notice | News, busy: Busy) -> None:
        """Show it soon. From one thread."""
        self._given.put((notice, busy))
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._show_all, name="celery_locks-teller", daemon=True)
            self._thread.start()

    def _show_all(self) -> None:
        while True:
            notice, busy = self._given.get()
            try:
                notice.give(busy)
            except Exception:
                logger.exception("a job that waits could not be shown")
