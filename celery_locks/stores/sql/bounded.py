"""psycopg with a bound on every wait: by itself it waits for ever for a server that hangs."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from celery_locks.stores.sessions.session import is_ready

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")
#: What psycopg's generators ask for: that the socket can be written.
_WRITE = 2


class Bounded(psycopg.Connection[Any]):
    """A connection whose every answer comes within its patience, or an error instead."""

    patience = 2.0

    def wait(self, gen: Generator[Any, Any, T], *_: Any, **__: Any) -> T:
        """Let the generator run; whoever hears of the end of patience must not use the connection again."""
        end = time.monotonic() + self.patience
        try:
            wanted = next(gen)
            while True:
                wanted = gen.send(self._ready(wanted, end))
        except StopIteration as done:
            result: T = done.value
            return result

    def _ready(self, wanted: int, end: float) -> int:
        if not is_ready(self.pgconn.socket, max(0.0, end - time.monotonic()), writing=bool(wanted & _WRITE)):
            raise psycopg.OperationalError(f"the answer timed out after {self.patience:g} s")
        # Which of the two it is, and what may be wrong, is found by using it.
        return wanted


@functools.cache
def patient(seconds: float) -> type[Bounded]:
    """Connections of that patience."""
    return type("Bounded", (Bounded,), {"patience": seconds})
