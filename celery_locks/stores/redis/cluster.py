"""How a script is sent to the nodes of a cluster."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's own
    NoScriptError,
    RedisClusterException,
    RedisError,
)

from celery_locks.stores.redis.slots import MOVING, SILENCE, Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import redis

    from celery_locks.stores.redis.calls import Call
    from celery_locks.stores.redis.wire import Pooled

#: Worth another look at where the key lives, and a second try. A timeout is not: it has cost enough already.
_ELSEWHERE = (*MOVING, ClusterDownError, ConnectionError)
_FAILURES = (RedisError, RedisClusterException, OSError)


class Clustered:
    """A cluster. A request goes to the node that has its key; through redis-py only while its slot is on its way."""

    sees_listeners = False
    is_whole = False

    def __init__(self, slots: Slots, connect: Callable[[], redis.RedisCluster]) -> None:
        self._slots = slots
        self._connect = connect

    def run(self, call: Call, farewell: Sequence[Call] = ()) -> Any:
        with contextlib.suppress(*_ELSEWHERE):
            return self._asked(call, farewell)
        try:
            return self._asked(call, farewell)
        except MOVING:
            # A slot on its way may be asked only for what there is, and homes are rarely.
            with contextlib.suppress(*MOVING):
                return self._asked(call._replace(names=call.names[:3]), farewell)
            # A line is mostly not, either: none is kept then.
            return self._led(call._replace(names=call.names[:2]))

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """One call a key, for keys live on different nodes."""
        return [answer if _is_error(answer) else answer[0] for answer in self.each(calls)]

    def each(self, calls: Sequence[Call]) -> list[Any]:
        """All are sent before an answer is awaited."""
        answers = self._together([(call, call.by_sha()) for call in calls])
        amiss = [place for place, answer in enumerate(answers) if isinstance(answer, (NoScriptError, *_ELSEWHERE))]
        again = self._together([(calls[place], calls[place].in_full()) for place in amiss])
        for place, answer in zip(amiss, again, strict=True):
            call = calls[place]._replace(names=calls[place].names[:2])
            answers[place] = _tried(self._led, call) if isinstance(answer, MOVING) else answer
        return answers

    def names(self, pattern: str) -> Iterator[bytes | str]:
        for node in self._slots.masters():
            yield from self._names_at(node, pattern)

    def listener(self) -> Any:
        """Any node's: what is published at one is heard at all."""
        return random.choice(self._slots.masters()).listener()  # noqa: S311 - to spread load

    def nodes(self) -> list[Pooled]:
        return self._slots.masters()

    def close(self) -> None:
        self._slots.close()

    def _names_at(self, node: Pooled, pattern: str) -> Iterator[bytes | str]:
        try:
            yield from node.names(pattern)
        except SILENCE as error:
            self._slots.heed(node, error)
            raise

    def _asked(self, call: Call, farewell: Sequence[Call]) -> Any:
        node = self._slots.homes([call])[0]
        try:
            answer = self._told(node, call, farewell)
        except _FAILURES as error:
            self._slots.heed(node, error)
            raise
        self._slots.heed(node, answer)
        return answer

    @staticmethod
    def _told(node: Pooled, call: Call, farewell: Sequence[Call]) -> Any:
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
            heard = connection if _is_error(connection) else _tried(node.hear, connection, len(places))
            for place, answer in zip(places, [heard] * len(places) if _is_error(heard) else heard, strict=True):
                answers[place] = answer
                self._slots.heed(node, answer)
        return answers

    def _shares(self, calls: Sequence[Call]) -> dict[Pooled, list[int]]:
        shares: dict[Pooled, list[int]] = {}
        for place, home in enumerate(self._slots.homes(calls) if calls else ()):
            shares.setdefault(home, []).append(place)
        return shares

    def _led(self, call: Call) -> Any:
        """By redis-py, which knows how a slot that is on its way is asked; with a client that nobody else uses."""
        client: Any = self._connect()
        with contextlib.closing(client):
            return client.execute_command(*call.in_full())


def _tried(do: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, or the error: that of one node is not the others'."""
    try:
        return do(*arguments)
    except _FAILURES as error:
        return error


def _is_error(answer: Any) -> bool:
    return isinstance(answer, Exception)
