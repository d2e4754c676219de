"""Hears what the scripts publish: whose turn it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    ConnectionError,  # noqa: A004 - redis-py's own
    RedisClusterException,
    RedisError,
)

from celery_locks.stores.base import Listening, Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FAILURES = (RedisError, RedisClusterException, OSError)
#: After so long a silence it is asked, and after twice that it is taken to be gone.
_SILENCE = 5.0


class RedisListening(Listening):
    """One subscription, on a connection of its own, which is read as it comes: redis-py's PubSub takes twice as long.

    When nothing has come for a while it asks the server for a sign of life: a connection that a firewall has forgotten
    is silent for ever.
    """

    def __init__(
        self,
        connection: Any,
        channels: Sequence[str],
        key: Callable[[str], str],
        failure: Callable[[Exception], Exception],
    ) -> None:
        self._connection = connection
        self._key = key
        self._failure = failure
        self._asked = False
        self._heard_at = time.monotonic()
        try:
            self._say("SUBSCRIBE", *channels)
            # From its answers on no wake is missed unnoticed.
            for _ in channels:
                connection.read_response(disconnect_on_error=False)
        except BaseException:
            self.close()
            raise

    def heard(self, timeout: float) -> list[Wake]:
        try:
            return self._heard(timeout)
        except _FAILURES as error:
            raise self._failure(error) from error

    def close(self) -> None:
        self._connection.disconnect()

    def _heard(self, timeout: float) -> list[Wake]:
        if not self._connection.can_read(timeout):
            self._wonder(time.monotonic() - self._heard_at)
            return []
        word, *said = self._connection.read_response(disconnect_on_error=False)
        self._asked, self._heard_at = False, time.monotonic()
        # One at a time: to look whether there are more would keep the first waiting.
        return [self._wake(said[-1])] if word in (b"message", "message") else []

    def _wonder(self, silence: float) -> None:
        if self._asked and silence > 2 * _SILENCE:
            raise ConnectionError(f"no sign of life for {silence:.1f} s")
        if not self._asked and silence > _SILENCE:
            self._say("PING")
            self._asked = True

    def _say(self, *words: str) -> None:
        self._connection.send_command(*words, check_health=False)

    def _wake(self, data: Any) -> Wake:
        text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
        word, ticket, window, name = text.split(" ", 3)
        word, *handed = word.split(":")
        return Wake(self._key(name), ticket, word in ("go", "have"), float(window) / 1000, *map(int, handed))
