"""How a script is sent to the nodes of a cluster."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's own
    NoScriptError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)

from celery_locks.stores.redis.wire import Call, Pooled, good

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import redis
    from redis.client import PubSub

#: The key is on its way to another node, or the cluster on its way to another shape. `MovedError` is one of them.
_MOVING = (AskError, TryAgainError, ClusterDownError)
_ELSEWHERE = (*_MOVING, ConnectionError, RedisClusterException)


class Clustered:
    """A cluster. Its nodes are looked up at the first use, when one is gone or a key has moved, and in a forked child.

    redis-py's client says where a key lives. Only for a slot that is on its way it is spoken through.
    """

    def __init__(self, connect: Callable[[], redis.RedisCluster]) -> None:
        self._connect = connect
        self._map: _Map | None = None

    def run(self, call: Call, farewell: Call | None = None) -> Any:
        try:
            return self._asked(call, farewell)
        except _ELSEWHERE:
            self._forget()
        try:
            return self._asked(call, farewell)
        except _MOVING:
            # A slot on its way may be asked only for what there is, and a line is mostly not: none is kept then.
            return self._led(call._replace(names=call.names[:2]))

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """One call a key, for keys live on different nodes; all are sent before an answer is awaited."""
        answers = self._together([(call, call.by_sha()) for call in calls])
        amiss = [place for place, answer in enumerate(answers) if isinstance(answer, (NoScriptError, *_ELSEWHERE))]
        if any(isinstance(answers[place], _ELSEWHERE) for place in amiss):
            self._forget()
        again = self._together([(calls[place], calls[place].in_full()) for place in amiss])
        for place, answer in zip(amiss, again, strict=True):
            answers[place] = self._led(calls[place]) if isinstance(answer, _MOVING) else answer
        return [good(answer)[0] for answer in answers]

    def names(self, pattern: str) -> Iterator[bytes | str]:
        known = self._known()
        try:
            for node in known.client.get_primaries():
                yield from known.at(node).names(pattern)
        except ConnectionError:
            # Whoever asks next is to look the nodes up again.
            self._forget()
            raise

    def listener(self) -> PubSub:
        pubsub: PubSub = self._known().client.pubsub()
        return pubsub

    def close(self) -> None:
        self._forget()

    def _asked(self, call: Call, farewell: Call | None) -> Any:
        node = self._known().home(call)
        try:
            return node.ask(call.by_sha(), farewell)
        except NoScriptError:
            return node.ask(call.in_full(), farewell)

    def _together(self, requests: Sequence[tuple[Call, tuple[Any, ...]]]) -> list[Any]:
        answers: list[Any] = [None] * len(requests)
        spoken = [
            (node, places, _tried(node.say, [requests[place][1] for place in places]))
            for node, places in self._shares([call for call, _ in requests]).items()
        ]
        for node, places, connection in spoken:
            heard = _tried(node.hear, connection, len(places)) if not _is_error(connection) else connection
            for number, place in enumerate(places):
                answers[place] = heard if _is_error(heard) else heard[number]
        return answers

    def _shares(self, calls: Sequence[Call]) -> dict[Pooled, list[int]]:
        shares: dict[Pooled, list[int]] = {}
        if calls:
            known = self._known()
            for place, call in enumerate(calls):
                shares.setdefault(known.home(call), []).append(place)
        return shares

    def _led(self, call: Call) -> Any:
        """By redis-py, which knows how a slot that is on its way is asked; with a client that nobody else uses."""
        client: Any = self._connect()
        with contextlib.closing(client):
            return client.execute_command(*call.in_full())

    def _known(self) -> _Map:
        # Of two threads that come here at once one wins; the other's map is used once.
        known = self._map
        if known is None or known.pid != os.getpid():
            known = self._map = _Map(self._connect())
        return known

    def _forget(self) -> None:
        known, self._map = self._map, None
        if known is not None and known.pid == os.getpid():
            known.close()


class _Map:
    """Which node has which keys, as it was when a client looked it up, and the connections to each."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.pid = os.getpid()
        self._nodes: dict[str, Pooled] = {}

    def home(self, call: Call) -> Pooled:
        return self.at(self.client.get_node_from_key(call.names[0]))

    def at(self, node: Any) -> Pooled:
        known = self._nodes.get(node.name)
        if known is None:
            pool = self.client.get_redis_connection(node).connection_pool
            known = self._nodes.setdefault(node.name, Pooled(pool))
        return known

    def close(self) -> None:
        for node in [*self._nodes.values()]:
            node.close()
        with contextlib.suppress(RedisError, OSError):
            self.client.close()


def _tried(do: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return do(*arguments)
    except ConnectionError as error:
        return error


def _is_error(answer: Any) -> bool:
    return isinstance(answer, Exception)
