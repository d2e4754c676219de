"""What is said first on a connection, and what is learned from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from celery_locks.stores.redlock.names import kept_ms
from celery_locks.stores.redlock.protocol import packed

if TYPE_CHECKING:
    from celery_locks.stores.redlock.address import Place


class Greeting:
    """Requests that are sent together. A node that hangs gets no further than to owe their answers."""

    def __init__(self, place: Place, restart_delay: float) -> None:
        words = [("AUTH", *place.login)] if place.login else []
        words += [("SELECT", str(place.database))] if place.database else []
        words.append(("INFO", "persistence"))
        words.append(("INFO", "server") if restart_delay else ("PING",))
        self.request = b"".join(packed(*each) for each in words)
        #: Whether a restart may cost it what it was told. One that may not say so is not known to keep it.
        self.forgets = True
        self._delay = kept_ms(restart_delay) / 1000 if restart_delay else 0.0
        self._uptime = 0.0
        self._owed = len(words)

    @property
    def is_over(self) -> bool:
        """Whether all of it is answered."""
        return self._owed == 0

    def hear(self, answer: Any) -> None:
        """Note an answer. Raises the node's refusal."""
        self._owed -= 1
        if self._owed == 1:
            # Whoever may not ask this can have locks all the same.
            self.forgets = not (isinstance(answer, bytes) and b"aof_enabled:1" in answer.split())
        elif isinstance(answer, ResponseError):
            raise answer
        elif self._owed == 0:
            self._uptime = _uptime(answer)

    def counts_from(self, now: float) -> float:
        """When it will have been up for long enough to know of all leases there are."""
        return now + self._delay - self._uptime if self._delay else 0.0


def _uptime(info: bytes) -> float:
    """Seconds since it was started, at least; one that does not tell has just been started."""
    for line in info.split():
        name, _, value = line.partition(b":")
        if name == b"uptime_in_seconds":
            # The difference of two times that were both cut to whole seconds: up to one too many.
            return max(0.0, float(value) - 1)
    return 0.0
