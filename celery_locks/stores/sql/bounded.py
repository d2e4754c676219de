"""psycopg with a bound on every wait: by itself it waits for ever for a server that hangs."""

from __future__ import annotations

import functools
import select
import time
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")
#: What psycopg's generators ask for and are told: that the socket can be read, written.
_READ, _WRITE = 1, 2
_EVENTS = {_READ: select.POLLIN, _WRITE: select.POLLOUT, _READ | _WRITE: select.POLLIN | select.POLLOUT}
_FAILED = select.POLLERR | select.POLLHUP | select.POLLNVAL


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
        poll = select.poll()
        poll.register(self.pgconn.socket, _EVENTS[wanted])
        happened = poll.poll(max(0.0, end - time.monotonic()) * 1000)
        if not happened:
            raise psycopg.OperationalError(f"the answer timed out after {self.patience:g} s")
        event = happened[0][1]
        if event & _FAILED:
            # What is wrong is found by using it.
            return wanted
        return (_READ if event & select.POLLIN else 0) | (_WRITE if event & select.POLLOUT else 0)


@functools.cache
def patient(seconds: float) -> type[Bounded]:
    """Connections of that patience."""
    return type("Bounded", (Bounded,), {"patience": seconds})
