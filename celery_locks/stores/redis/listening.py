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
    from collections.abc import Callable

    from redis.client import PubSub

_FAILURES = (RedisError, RedisClusterException, OSError)
#: So soon a server says that it has begun. From then on no wake is missed unnoticed.
_BEGINNING = 2.0
#: After so long a silence it is asked, and after twice that it is taken to be gone.
_SILENCE = 5.0


class RedisListening(Listening):
    """One subscription, on a connection of its own.

    When nothing has come for a while it asks the server for a sign of life: a connection that a firewall has forgotten
    is silent for ever.
    """

    def __init__(
        self, pubsub: PubSub, channel: str, key: Callable[[str], str], failure: Callable[[Exception], Exception]
    ) -> None:
        self._pubsub = pubsub
        self._key = key
        self._failure = failure
        self._asked = False
        self._heard_at = time.monotonic()
        try:
            self._begin(channel)
        except BaseException:
            self.close()
            raise

    def heard(self, timeout: float) -> list[Wake]:
        try:
            return self._heard(timeout)
        except _FAILURES as error:
            raise self._failure(error) from error

    def close(self) -> None:
        self._pubsub.close()

    def _begin(self, channel: str) -> None:
        self._pubsub.subscribe(channel)
        if self._pubsub.get_message(timeout=_BEGINNING) is None:
            raise ConnectionError(f"no answer to SUBSCRIBE within {_BEGINNING:g} s")

    def _heard(self, timeout: float) -> list[Wake]:
        wakes = []
        message = self._pubsub.get_message(timeout=timeout)
        if message is None:
            self._wonder(time.monotonic() - self._heard_at)
        while message:
            self._asked, self._heard_at = False, time.monotonic()
            if message["type"] == "message":
                wakes.append(self._wake(message["data"]))
            message = self._pubsub.get_message(timeout=0)
        return wakes

    def _wonder(self, silence: float) -> None:
        if self._asked and silence > 2 * _SILENCE:
            raise ConnectionError(f"no sign of life for {silence:.1f} s")
        if not self._asked and silence > _SILENCE:
            self._pubsub.ping()
            self._asked = True

    def _wake(self, data: Any) -> Wake:
        text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
        word, ticket, window, name = text.split(" ", 3)
        return Wake(self._key(name), ticket, word == "go", float(window) / 1000)
