"""One who waits until something is said of a key."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_READABLE = 1


class Waiter:
    """Waits in its own thread for what the session hears, and for a word of another thread that has heard it."""

    def __init__(self, name: bytes) -> None:
        #: The key's number.
        self.name = int.from_bytes(name, "big", signed=True)
        self._ear, self._mouth = socket.socketpair()

    def wake(self) -> None:
        """Its key may be free. May be said by any thread, and when it waits no more."""
        with contextlib.suppress(OSError):
            self._mouth.send(b"!", socket.MSG_DONTWAIT)

    def wait(self, fd: int, until: float) -> bool:
        """Wait for a wake, or for something to be read by the session; False when it was woken, or its time is over."""
        fds = (self._ear.fileno(), fd)
        ready = _ready(fds, max(0.0, until - time.monotonic()))
        return bool(ready) and self._ear.fileno() not in ready

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ear.close()
        self._mouth.close()


def _ready(fds: tuple[int, ...], seconds: float) -> list[int]:
    """Those of these from which something can be read, or nothing any more."""
    if not hasattr(select, "poll"):
        return select.select(fds, [], [], seconds)[0]  # eventlet takes it away
    poll = select.poll()
    for fd in fds:
        poll.register(fd, _READABLE)
    return [fd for fd, _ in poll.poll(seconds * 1000)]
