"""Asks the store, in a thread of its own: a store that hangs does not keep a key of the terminal waiting."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from typing import TYPE_CHECKING

from celery_locks.cli.top.reading import Breach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from celery_locks.cli.top.reading import Frame, Said, Subject, Trouble


class Clerk:
    """Looks at a subject again and again, and breaks a lock when told to."""

    def __init__(
        self, ask: Callable[[Subject | Breach], Frame | Said | Trouble], subject: Subject, every: float
    ) -> None:
        self._ask = ask
        self._subject = subject
        self._every = every
        self._told: queue.SimpleQueue[Subject | Breach | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Frame | Said | Trouble] = queue.SimpleQueue()
        #: There is something to read from it when there are answers.
        self.fd, self._bell = os.pipe()
        for end in (self.fd, self._bell):
            os.set_blocking(end, False)

    def __enter__(self) -> Self:
        threading.Thread(target=self._go, name="celery_locks-top", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # It may be waiting for the store: it ends with this process, and nobody waits for it.
        self._told.put(None)

    def tell(self, wish: Subject | Breach) -> None:
        """Do this now."""
        self._told.put(wish)

    def answers(self) -> Iterator[Frame | Said | Trouble]:
        """What has been answered so far."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 4096)
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._answers.get_nowait()

    def _go(self) -> None:
        wish: Subject | Breach | None = self._subject
        while wish is not None:
            if isinstance(wish, Breach):
                self._give(self._ask(wish))
            else:
                self._subject = wish
            self._give(self._ask(self._subject))
            wish = self._next()

    def _next(self) -> Subject | Breach | None:
        try:
            return self._told.get(timeout=self._every)
        except queue.Empty:
            return self._subject

    def _give(self, answer: Frame | Said | Trouble) -> None:
        self._answers.put(answer)
        # A full pipe has rung already.
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"!")
