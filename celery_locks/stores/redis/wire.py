"""How a script is sent: to one server over a pooled connection, or to the nodes of a cluster."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import redis
from redis.exceptions import (
    ConnectionError,  # noqa: A004 - redis-py's own
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.stores.redis.scripts import Script

AT_ONCE = 500


class Call(NamedTuple):
    """A script, the keys it is for, and what else it is told."""

    script: Script
    names: Sequence[Any]
    arguments: tuple[Any, ...] = ()

    def by_sha(self) -> tuple[Any, ...]:
        """As a command that names the script."""
        return ("EVALSHA", self.script.sha, len(self.names), *self.names, *self.arguments)

    def in_full(self) -> tuple[Any, ...]:
        """As a command that brings the script along, for a server that does not know it."""
        return ("EVAL", self.script.text, len(self.names), *self.names, *self.arguments)


class Wire(Protocol):
    """Sends scripts and gives their answers. What goes wrong is redis-py's error, or the socket's."""

    def run(self, call: Call, farewell: Call | None = None) -> Any:
        """The answer. When it does not come in time the farewell is said, whose own answer is not awaited."""

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """One answer a call, in as few round trips as can be. All are of one script, that takes many keys."""

    def names(self, pattern: str) -> Iterator[bytes | str]:
        """The names of keys that match a glob; one may come twice."""

    def close(self) -> None:
        """Give back the connections."""


class Pooled:
    """One server, or the master that Sentinel names.

    It keeps its connections itself and speaks to them, because `Redis.execute_command` costs twice as much, and gives a
    connection back when a soft time limit or Ctrl-C strikes between a request and its answer: the next to use it would
    hear that answer as its own.
    """

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._idle: list[Any] = []
        self._pid = os.getpid()

    def run(self, call: Call, farewell: Call | None = None) -> Any:
        try:
            return self.ask(call.by_sha(), farewell)
        except NoScriptError:
            return self.ask(call.in_full(), farewell)
        except ConnectionError:
            # The connection may have died while nobody used it, and the others with it. Every script may be repeated.
            # A timeout is not: it has cost enough already.
            self._hang_up()
            return self.ask(call.in_full(), farewell)

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(calls), AT_ONCE):
            answers += self.run(_merged(calls[start : start + AT_ONCE]))
        return answers

    def names(self, pattern: str) -> Iterator[bytes | str]:
        return redis.Redis(connection_pool=self._pool).scan_iter(match=pattern, count=AT_ONCE)

    def close(self) -> None:
        self._hang_up()
        self._pool.disconnect()

    def ask(self, words: tuple[Any, ...], farewell: Call | None = None) -> Any:
        """One request, one answer, one try."""
        connection = self._connected()
        try:
            connection.send_command(*words)
            return connection.read_response(disconnect_on_error=False)
        except ResponseError:
            raise
        except BaseException as error:
            if farewell and not isinstance(error, ConnectionError):
                _say(connection, farewell)
            # The answer may still be on its way, and nobody else may hear it.
            connection.disconnect()
            raise
        finally:
            self._idle.append(connection)

    def _connected(self) -> Any:
        connection = self._taken()
        try:
            connection.connect()
        except BaseException:
            connection.disconnect()
            self._idle.append(connection)
            raise
        return connection

    def _taken(self) -> Any:
        if self._pid != os.getpid():
            # Those of the parent are the parent's.
            self._idle, self._pid = [], os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._pool.make_connection()

    def _hang_up(self) -> None:
        # Taken out first: another thread must not be speaking on what is ended here.
        mine = []
        with contextlib.suppress(IndexError):
            while True:
                mine.append(self._idle.pop())
        for connection in mine:
            connection.disconnect()
        self._idle.extend(mine)


class Clustered:
    """A cluster. Its nodes are looked up at the first use, and again in a forked child."""

    def __init__(self, connect: Callable[[], redis.RedisCluster]) -> None:
        self._connect = connect
        self._client: Any = None
        self._nodes: dict[str, Pooled] = {}
        self._pid = 0

    def run(self, call: Call, farewell: Call | None = None) -> Any:
        client = self._connected()
        try:
            return self._at(client.get_node_from_key(call.names[0])).ask(call.by_sha(), farewell)
        except (ResponseError, ConnectionError, RedisClusterException):
            # The script is new there, the key has moved, or its node is gone. redis-py finds out, or says why not.
            return self._routed(call)

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """One call a key, for keys live on different nodes; all are sent at once."""
        with self._whole():
            answers = self._pipelined([call.by_sha() for call in calls])
            unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            again = self._pipelined([calls[place].in_full() for place in unknown])
        for place, answer in zip(unknown, again, strict=True):
            answers[place] = answer
        return [_good(answer)[0] for answer in answers]

    def names(self, pattern: str) -> Iterator[bytes | str]:
        found: Iterator[bytes | str] = self._connected().scan_iter(match=pattern, count=AT_ONCE)
        return found

    def close(self) -> None:
        client, self._client = self._client, None
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            node.close()
        if client is not None:
            client.close()

    def _routed(self, call: Call) -> Any:
        with self._whole():
            try:
                return self._connected().execute_command(*call.in_full())
            except ConnectionError:
                # By now it has looked its nodes up again.
                return self._connected().execute_command(*call.in_full())

    def _pipelined(self, requests: Sequence[tuple[Any, ...]]) -> list[Any]:
        pipeline = self._connected().pipeline()
        for words in requests:
            pipeline.execute_command(*words)
        return pipeline.execute(raise_on_error=False) if requests else []

    def _at(self, node: Any) -> Pooled:
        known = self._nodes.get(node.name)
        if known is None:
            pool = self._connected().get_redis_connection(node).connection_pool
            known = self._nodes.setdefault(node.name, Pooled(pool))
        return known

    def _connected(self) -> Any:
        # Of two threads that come here at once one wins; the other's client goes unused.
        client = self._client
        if client is None or self._pid != os.getpid():
            client = self._client = self._connect()
            self._nodes, self._pid = {}, os.getpid()
        return client

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """Whatever interrupts a request, a soft time limit or Ctrl-C, leaves no connection with an unheard answer."""
        try:
            yield
        except (RedisError, OSError, RedisClusterException):
            raise
        except BaseException:
            self.close()
            raise


def _say(connection: Any, farewell: Call) -> None:
    """Say a last word on a connection, and do not await its answer.

    A server that hangs may do the request when nobody listens any more. What comes on the same connection it reads
    right after that; a new connection would have to wait for its greeting, and might be read first.
    """
    with contextlib.suppress(RedisError, OSError):
        connection.send_command(*farewell.in_full())


def _merged(calls: Sequence[Call]) -> Call:
    names = [name for call in calls for name in call.names]
    return Call(calls[0].script, names, tuple(argument for call in calls for argument in call.arguments))


def _good(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer
