"""What is said first on a connection, and what is learned from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.stores.redlock.protocol import packed

if TYPE_CHECKING:
    from celery_locks.stores.redlock.address import Place


def greeting(place: Place, *, asks_age: bool) -> tuple[bytes, int]:
    """The requests, and how many answers they will have. A node that hangs gets no further than to owe them."""
    words = [("AUTH", *place.login)] if place.login else []
    words += [("SELECT", str(place.database))] if place.database else []
    words.append(("INFO", "server") if asks_age else ("PING",))
    return b"".join(packed(*each) for each in words), len(words)


def uptime(info: bytes) -> float:
    """Seconds since it was started, at least; one that does not tell has just been started."""
    for line in info.split():
        name, _, value = line.partition(b":")
        if name == b"uptime_in_seconds":
            # The difference of two times that were both cut to whole seconds: up to one too many.
            return max(0.0, float(value) - 1)
    return 0.0
