"""A session with Postgres: requests and answers over libpq, which survive an interrupt between the two."""

from __future__ import annotations

import os
import struct
import weakref
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import pq

from celery_locks.lease import Busy, Holding
from celery_locks.stores.advisory import statements
from celery_locks.stores.sessions import Broken, Held, Refused, Session, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from celery_locks.stores.advisory.waiter import Waiter
    from celery_locks.stores.sessions import Times

_NUMBER = struct.Struct("!q")
_PID = struct.Struct("!i")
_BINARY = pq.Format.BINARY
_FORMATS = [[_BINARY] * many for many in range(8)]
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY)
_TRUE = b"\x01"
#: Below every name.
_FIRST = -(1 << 63)
#: Nobody tells of a holder that died: whoever waits looks himself this often.
UNTOLD = 1.0
#: Nor is there anyone to tell while a key is just being taken, or by a client that is none of ours.
UNKNOWN = 0.01
MOVED = "the session has changed between two requests: something between us and Postgres shares sessions"


class Wire(psycopg.Connection[Any]):
    """A connection that does not complain when it is dropped: the end of its process or its store is a good end."""

    def __del__(self, *_: object) -> None:
        """Leave the closing to libpq."""


class PostgresSession(Session):
    """One connection, spoken to through libpq: psycopg itself drops it when it is interrupted, and waits for ever."""

    def __init__(self, connection: Wire, times: Times, clock: Callable[[], float]) -> None:
        self._wire = connection
        self._pgconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._asked = clock()
        self._listening: set[int] | None = set()
        # Weak, so that whoever was interrupted waits no more.
        self._waiters: weakref.WeakSet[Waiter] = weakref.WeakSet()
        self.pid = 0
        super().__init__(self._pgconn.socket, times, clock)

    @property
    def announced_pid(self) -> int:
        """The process that answered when we connected, by its own word, or by that of a pooler."""
        return self._pgconn.backend_pid

    @property
    def version(self) -> int:
        """As 150004 for 15.4."""
        return self._pgconn.server_version

    def close(self) -> None:
        self._wire.close()

    def finish(self) -> None:
        if self._pgconn.transaction_status != pq.TransactionStatus.IDLE:
            self._hear()

    def ping(self) -> None:
        if self.backend_pid() != self.pid:
            raise self._moved()
        self._listen()

    def sweep(self) -> None:
        """Nothing: a row goes when its key is given back, and one of the dead when the next process connects."""

    def backend_pid(self) -> int:
        """The process that answers now."""
        return int(self.do("SELECT pg_backend_pid()")[-1].get_value(0, 0) or 0)

    def do(self, text: str) -> list[pq.abc.PGresult]:
        """Statements without parameters, whose answers are texts."""
        self.finish()
        self._asked = self._clock()
        return self._heard(lambda: self._pgconn.send_query(text.encode()))

    def take(self, held: Held) -> Taken | Busy:
        name, who = held.name, (_raw(held.prefix), _raw(held.key), _raw(held.owner))
        ours, place, fence, holder = self._ask("take", name, *who, _PID.pack(self.pid))[0]
        if ours is None:
            raise self._moved()
        if ours == _TRUE and fence is None:
            # It was forced to another place meanwhile. What is tried again starts from there.
            self._ask("undo", name, place)
            return self.take(held)
        return Taken(_number(fence), _number(place)) if ours == _TRUE else Busy(_text(holder) if holder else None)

    def still(self, held: Iterable[Held]) -> set[bytes]:
        wanted = {each.name: (each.fence, each.place) for each in held}
        rows = self._ask("still", _array(wanted), _PID.pack(self.pid))
        return {name for name, fence, place in rows if wanted[name] == (_number(fence), _number(place))}

    def give_back(self, held: Held) -> bool:
        _, ours, _ = self._ask("give_back", held.name, _NUMBER.pack(held.fence), _NUMBER.pack(held.place))[0]
        return bool(ours == _TRUE)

    def undo(self, held: Held) -> None:
        self._ask("undo", held.name, _NUMBER.pack(held.place) if held.fence else held.name)

    def look(self, name: bytes) -> Held | None:
        for prefix, key, owner, fence in self._ask("look", name):
            return Held(name, _text(prefix), _text(key), _text(owner), _number(fence))
        return None

    def page(self, prefix: str, after: bytes) -> list[tuple[bytes, Holding]]:
        rows = self._ask("page", _raw(prefix), after or _NUMBER.pack(_FIRST))
        return [(name, Holding(_text(key), _text(owner), _number(fence), None)) for name, key, owner, fence in rows]

    def force(self, name: bytes) -> bool:
        return bool(self._ask("force", name, os.urandom(8)))

    def watch(self, waiter: Waiter) -> float:
        """Wake this one when its key may be free, and say for how long that can be relied upon."""
        self._waiters.add(waiter)
        self._listen()
        ((told, taken),) = self._ask("wait", _NUMBER.pack(waiter.name))
        return UNTOLD if told == _TRUE else UNKNOWN if taken == _TRUE else 0.0

    def hear(self) -> None:
        """Wake those of whose keys something was said."""
        self.finish()
        try:
            self._pgconn.consume_input()
        except psycopg.Error as error:
            raise Broken(str(error)) from error
        self._tell()

    def _listen(self) -> None:
        """Listen for those who wait now, and for nobody else."""
        wanted = {waiter.name for waiter in self._waiters}
        if wanted != self._listening:
            # Interrupted, it is not known.
            self._listening = None
            self.do(statements.listen(wanted))
            self._listening = wanted

    def _tell(self) -> None:
        while (said := self._pgconn.notifies()) is not None:
            channel = said.relname.decode()
            for waiter in tuple(self._waiters):
                if channel == f"{statements.CHANNEL}{waiter.name}":
                    waiter.wake()

    def _ask(self, name: str, *values: bytes) -> list[tuple[Any, ...]]:
        self.finish()
        self._asked = self._clock()
        statement = b"celery_locks_%s" % name.encode()
        formats = _FORMATS[len(values)]
        (result,) = self._heard(lambda: self._pgconn.send_query_prepared(statement, values, formats, _BINARY))
        columns = range(result.nfields)
        return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]

    def _heard(self, send: Callable[[], None]) -> list[pq.abc.PGresult]:
        try:
            send()
        except psycopg.Error as error:
            raise Broken(str(error)) from error
        results = self._hear()
        for result in results:
            if result.status not in _GOOD:
                raise _refused(result)
        return results

    def _hear(self) -> list[pq.abc.PGresult]:
        """The whole answer. libpq keeps what has come so far, so that an interrupt here loses nothing."""
        results = []
        self.listen()
        try:
            while self._pgconn.flush():
                self.wait(writing=True)
                self._pgconn.consume_input()
            while (result := self._next()) is not None:
                results.append(result)
        except psycopg.Error as error:
            raise Broken(_last_word(results) or str(error)) from error
        if self._pgconn.status != pq.ConnStatus.OK:
            raise Broken(_last_word(results) or self._pgconn.get_error_message())
        self.heard = self._asked
        self._tell()
        return results

    def _next(self) -> pq.abc.PGresult | None:
        while self._pgconn.is_busy():
            self.wait()
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _moved(self) -> Broken:
        return Broken(MOVED)


def _refused(result: pq.abc.PGresult) -> Refused:
    state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
    return Refused(result.get_error_message(), state.decode())


def _last_word(results: Sequence[pq.abc.PGresult]) -> str:
    # A server that ends a session says why before it does.
    return results[-1].get_error_message() if results else ""


def _array(names: Iterable[bytes]) -> bytes:
    """Names as one value in the binary form of bigint[]."""
    each = [b"\0\0\0\x08" + name for name in names]
    return struct.pack("!iiiii", 1, 0, 20, len(each), 1) + b"".join(each)


def _number(value: bytes) -> int:
    return int(_NUMBER.unpack(value)[0])


def _raw(text: str) -> bytes:
    # Any text is a key, one with half a surrogate pair in it too.
    return text.encode("utf-8", "surrogatepass")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")
