"""How a statement is sent: over connections of our own, each used by one thread of one process at a time.

SQLAlchemy makes the connections, and its pool is left out: to take one from there costs half a round trip on loopback,
and one gets back into it also when a soft time limit or Ctrl-C strikes between a request and its answer.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.sql.statements import Statement

#: Idle connections that are kept. A server has fewer to give than a process has threads.
KEPT = 16

_left_behind: list[Any] = []


class Unreached(Exception):
    """There was no connection, so nothing was asked."""

    def __init__(self, orig: BaseException) -> None:
        super().__init__(str(orig))
        self.orig = orig


class Answer(NamedTuple):
    """The rows, how many were changed, and the number that MariaDB and MySQL add."""

    rows: list[Any]
    changed: int
    number: int


class Wire(Protocol):
    """Sends statements, each a transaction of its own. What goes wrong is the driver's error."""

    #: Whether a request can be late, and an answer lost.
    is_remote: bool

    def run(self, statement: Statement, named: dict[str, Any], is_harmless: Callable[[BaseException], bool]) -> Answer:
        """The answer. The connection is used again only after an answer or a harmless error."""

    def hang_up(self) -> None:
        """Close what is idle."""


class _Connecting:
    def __init__(self, connect: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        self._connect = connect
        self._errors = errors

    def _connected(self) -> Any:
        try:
            return self._connect()
        except self._errors as error:
            raise Unreached(error) from error


class Pooled(_Connecting):
    """A server, over as many connections as there are threads that ask at once."""

    is_remote = True

    def __init__(self, connect: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        super().__init__(connect, errors)
        self._idle: list[Any] = []
        self._pid = os.getpid()

    def run(self, statement: Statement, named: dict[str, Any], is_harmless: Callable[[BaseException], bool]) -> Answer:
        connection = self._taken() or self._connected()
        try:
            answer = spoken(connection, statement, named)
        except BaseException as error:
            if is_harmless(error):
                self._idle.append(connection)
            else:
                # The answer may still be on its way, and nobody else may hear it.
                _close(connection)
            raise
        if len(self._idle) < KEPT:
            self._idle.append(connection)
        else:
            _close(connection)
        return answer

    def hang_up(self) -> None:
        while connection := self._taken():
            _close(connection)

    def _taken(self) -> Any:
        if self._pid != os.getpid():
            # Those of the parent are the parent's. Kept from the collector, which might say goodbye on them.
            _left_behind.append(self._idle)
            self._idle, self._pid = [], os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return None


class OneFile(_Connecting):
    """A file of SQLite, over one connection, for SQLite lets one write at a time.

    SQLite keeps in memory which locks its process has on a file. A forked child would inherit that and not the locks,
    and the two would write over each other. So no statement is under way, nor a connection open, at the time of a fork.
    """

    is_remote = False

    def __init__(self, connect: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        super().__init__(connect, errors)
        self._connection: Any = None
        _files.add(self)

    def run(self, statement: Statement, named: dict[str, Any], is_harmless: Callable[[BaseException], bool]) -> Answer:
        with _gate:
            try:
                if self._connection is None:
                    self._connection = self._connected()
                return self._spoken(statement, named)
            except BaseException as error:
                if not is_harmless(error):
                    self.hang_up()
                raise

    def hang_up(self) -> None:
        with _gate, contextlib.suppress(Exception):
            # Known here until it is closed, also when an interrupt strikes.
            try:
                if self._connection is not None:
                    self._connection.close()
            finally:
                self._connection = None

    def _connected(self) -> Any:
        _bury()
        return super()._connected()

    def _spoken(self, statement: Statement, named: dict[str, Any]) -> Answer:
        cursor = self._connection.cursor()
        try:
            return _heard(cursor, statement, named)
        finally:
            # An error keeps its frames: what a cursor has not given back keeps the file open, and is given back at any
            # time by whoever drops the error.
            cursor.close()


def abandon(connection: Any) -> None:
    """Close a connection that nobody knows any more, now or when no fork can be meanwhile. Never waits."""
    _abandoned.append(connection)
    # The collector calls, from any line of any thread: to wait here for another could be to wait for ever.
    if _gate.acquire(blocking=False):
        try:
            _bury()
        finally:
            _gate.release()


def _bury() -> None:
    with contextlib.suppress(IndexError):
        while True:
            _close(_abandoned.pop())


_abandoned: list[Any] = []
_files: weakref.WeakSet[OneFile] = weakref.WeakSet()
_gate = threading.RLock()


def _before_fork() -> None:
    _gate.acquire()
    _bury()
    for file in list(_files):
        file.hang_up()


def _in_parent() -> None:
    _gate.release()


def _in_child() -> None:
    global _gate  # noqa: PLW0603 - threads that waited for it are not in the child
    _gate = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)


def spoken(connection: Any, statement: Statement, named: dict[str, Any]) -> Answer:
    """One statement, one answer."""
    cursor = connection.cursor()
    answer = _heard(cursor, statement, named)
    cursor.close()
    return answer


def _heard(cursor: Any, statement: Statement, named: dict[str, Any]) -> Answer:
    cursor.execute(statement.words, statement.arguments(named))
    # All are fetched: SQLite commits with the last.
    return (
        Answer(cursor.fetchall(), cursor.rowcount, 0)
        if cursor.description
        else Answer([], cursor.rowcount, getattr(cursor, "lastrowid", None) or 0)
    )


def _close(connection: Any) -> None:
    with contextlib.suppress(Exception):
        connection.close()
