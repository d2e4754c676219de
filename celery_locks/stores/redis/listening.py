"""Hears what the scripts publish: whose turn it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisClusterException, RedisError

from celery_locks.stores.base import Listening, Wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.client import PubSub

_FAILURES = (RedisError, RedisClusterException, OSError)


class RedisListening(Listening):
    """One subscription, on a connection of its own."""

    def __init__(
        self, pubsub: PubSub, channel: str, key: Callable[[str], str], failure: Callable[[Exception], Exception]
    ) -> None:
        self._pubsub = pubsub
        self._key = key
        self._failure = failure
        pubsub.subscribe(channel)

    def heard(self, timeout: float) -> list[Wake]:
        wakes = []
        try:
            message = self._pubsub.get_message(timeout=timeout)
            while message:
                wakes.append(self._wake(message["data"]))
                message = self._pubsub.get_message(timeout=0)
        except _FAILURES as error:
            raise self._failure(error) from error
        return wakes

    def close(self) -> None:
        self._pubsub.close()

    def _wake(self, data: Any) -> Wake:
        text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
        word, ticket, window, name = text.split(" ", 3)
        return Wake(self._key(name), ticket, word == "go", float(window) / 1000)
