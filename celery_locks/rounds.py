"""A thread that goes its rounds: at work when something is due, asleep until then, gone when long idle."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A thread with nothing to do ends after this many seconds.
IDLE = 30.0


class Rounds:
    """One such thread. `due` says when `step` is next to be done, or None; both are called from the thread.

    `changed` guards what they look at, and is shared by all threads that look at the same.
    """

    def __init__(
        self,
        name: str,
        changed: threading.Condition,
        step: Callable[[], None],
        due: Callable[[], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.thread: threading.Thread | None = None
        self._name = name
        self._changed = changed
        self._step = step
        self._due = due
        self._clock = clock
        self._wakes_at = 0.0

    def expect(self, due: float) -> None:
        """Be awake at that time, or before. The mutex is held."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._go, name=f"celery_locks-{self._name}", daemon=True)
            self.thread.start()
        elif due < self._wakes_at:
            self._changed.notify_all()

    def _go(self) -> None:
        while True:
            self._step()
            with self._changed:
                due = self._due()
                self._wakes_at = self._clock() + IDLE if due is None else due
                self._changed.wait(max(0.0, self._wakes_at - self._clock()))
                if due is None and self._due() is None:
                    self.thread = None
                    return
