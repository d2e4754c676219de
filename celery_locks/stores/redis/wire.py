"""How a script is sent: to one server over a pooled connection, or to the nodes of a cluster."""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import (
    ConnectionError,  # noqa: A004 - redis-py's own
    NoScriptError,
    RedisError,
    ResponseError,
)

from celery_locks.stores.redis.calls import in_one
from celery_locks.stores.redis.packing import packed
from celery_locks.stores.redis.written import good

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from celery_locks.stores.redis.calls import Call

AT_ONCE = 500


class Wire(Protocol):
    """Sends scripts and gives their answers. What goes wrong is redis-py's error, or the socket's."""

    def run(self, call: Call, farewell: Sequence[Call] = ()) -> Any:
        """The answer. When it does not come in time the farewell is said, whose own answer is not awaited."""

    def each(self, calls: Sequence[Call]) -> list[Any]:
        """One answer a call, or its error, in as few round trips as can be."""

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """One answer a call, in as few round trips as can be. All are of one script, that takes many keys.

        Of a cluster that answered in part, the answer to a call that had none is the error. The others are as good.
        """

    def names(self, pattern: str) -> Iterator[bytes | str]:
        """The names of keys that match a glob; one may come twice."""

    #: Whether who asks for a key's listeners is told of all of them.
    sees_listeners: bool
    #: Whether one script may be for any keys.
    is_whole: bool

    def listener(self) -> Any:
        """A connection to hear on what is published. It is the caller's to end."""

    def nodes(self) -> list[Pooled]:
        """Each server that holds keys."""

    def close(self) -> None:
        """Give back the connections."""


class Pooled:
    """One server, or the master that Sentinel names.

    It keeps its connections itself and speaks to them, because `Redis.execute_command` costs twice as much, and gives a
    connection back when a soft time limit or Ctrl-C strikes between a request and its answer: the next to use it would
    hear that answer as its own. Here a connection is kept only after its answers were heard to the end. One that was
    cut off anywhere else is in nobody's hands any more, and ends with that.
    """

    sees_listeners = True
    is_whole = True

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._idle: list[Any] = []
        self._living: weakref.WeakSet[Any] = weakref.WeakSet()
        self._pid = os.getpid()

    def run(self, call: Call, farewell: Sequence[Call] = ()) -> Any:
        try:
            return self.ask(call.by_sha(), farewell)
        except NoScriptError:
            return self.ask(call.in_full(), farewell)
        except ConnectionError:
            # The connection may have died while nobody used it, and the others with it. Every script may be repeated.
            # A timeout is not: it has cost enough already.
            self.hang_up()
            return self.ask(call.in_full(), farewell)

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        merged = [in_one(calls[start : start + AT_ONCE]) for start in range(0, len(calls), AT_ONCE)]
        return [one for answer in self.each(merged) for one in good(answer)]

    def each(self, calls: Sequence[Call]) -> list[Any]:
        try:
            answers = self._ask_all([call.by_sha() for call in calls])
        except ConnectionError:
            self.hang_up()
            answers = self._ask_all([call.in_full() for call in calls])
        if any(isinstance(answer, NoScriptError) for answer in answers):
            answers = self._ask_all([call.in_full() for call in calls])
        return answers

    def names(self, pattern: str) -> Iterator[bytes | str]:
        cursor: Any = 0
        while True:
            cursor, names = self.repeated("SCAN", cursor, "MATCH", pattern, "COUNT", AT_ONCE)
            yield from names
            if int(cursor) == 0:
                return

    def listener(self) -> Any:
        # RESP2, in which what is published comes as an answer does, and there are no notices of maintenance.
        given = self._pool.connection_kwargs.items()
        settings = {name: value for name, value in given if not name.startswith("maint_")}
        connection = self._pool.connection_class(**{**settings, "protocol": 2})
        connection.connect()
        return connection

    def nodes(self) -> list[Pooled]:
        return [self]

    @property
    def place(self) -> str:
        """Where it is, as a message names it."""
        given = self._pool.connection_kwargs
        # Sentinel names another one at another time.
        return str(given.get("path") or (f"{given['host']}:{given['port']}" if "host" in given else "the master"))

    def close(self) -> None:
        self.hang_up()

    def ask(self, words: tuple[Any, ...], farewell: Sequence[Call] = ()) -> Any:
        """One request, one answer, one try."""
        connection = self._connected()
        try:
            connection.send_packed_command(packed(connection, words))
            answer = connection.read_response(disconnect_on_error=False)
        except ResponseError:
            self._idle.append(connection)
            raise
        except BaseException as error:
            if farewell and not isinstance(error, ConnectionError):
                _say(connection, farewell)
            # The answer may still be on its way, and nobody else may hear it.
            self._end(connection)
            raise
        # Not within the try: from here on it may be another thread's.
        self._idle.append(connection)
        return answer

    def repeated(self, *words: Any) -> Any:
        """One request, and once more when its connection was broken."""
        try:
            return self.ask(words)
        except ConnectionError:
            self.hang_up()
            return self.ask(words)

    def say(self, requests: Sequence[tuple[Any, ...]]) -> Any:
        """Send many requests at once. The answers are to be heard on the connection that is returned."""
        connection = self._connected()
        with self._ended(connection):
            connection.send_packed_command([b"".join(connection.pack_commands(requests))])
        return connection

    def hear(self, connection: Any, count: int) -> list[Any]:
        """So many answers; one that is an error is not raised."""
        with self._ended(connection):
            answers = [_heard(connection) for _ in range(count)]
        self._idle.append(connection)
        return answers

    def hang_up(self) -> None:
        """End what is idle now. Another thread may take from its end meanwhile, and speaks on what it took."""
        with contextlib.suppress(IndexError):
            for _ in range(len(self._idle)):
                self._end(self._idle.pop(0))

    def _ask_all(self, requests: Sequence[tuple[Any, ...]]) -> list[Any]:
        return self.hear(self.say(requests), len(requests)) if requests else []

    def _connected(self) -> Any:
        if self._pid != os.getpid():
            # Those of the parent are the parent's, and one that it spoke on when it forked would count here for ever.
            self._idle, self._living, self._pid = [], weakref.WeakSet(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._made()
        with self._ended(connection):
            connection.connect()
        return connection

    def _made(self) -> Any:
        # Not by the pool, which would count those that were cut off as connections for ever.
        if len(self._living) >= self._pool.max_connections:
            raise ConnectionError("Too many connections")
        connection: Any = self._pool.connection_class(**self._pool.connection_kwargs)
        self._living.add(connection)
        return connection

    @contextlib.contextmanager
    def _ended(self, connection: Any) -> Iterator[None]:
        """What goes wrong within ends the connection."""
        try:
            yield
        except BaseException:
            self._end(connection)
            raise

    def _end(self, connection: Any) -> None:
        self._living.discard(connection)
        connection.disconnect()


def _say(connection: Any, farewell: Sequence[Call]) -> None:
    """Say last words on a connection, and do not await their answers.

    A server that hangs may do the request when nobody listens any more. What comes on the same connection it reads
    right after that; a new connection would have to wait for its greeting, and might be read first.
    """
    # In one piece and short, for a server that finds its client gone reads no more. All are of one script, which comes
    # along with the first.
    words = [call.by_sha() if place else call.in_full() for place, call in enumerate(farewell)]
    with contextlib.suppress(RedisError, OSError):
        connection.send_packed_command([b"".join(connection.pack_commands(words))], check_health=False)


def _heard(connection: Any) -> Any:
    try:
        return connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
