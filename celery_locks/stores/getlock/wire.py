"""A session with MySQL or MariaDB: requests and answers over PyMySQL."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pymysql

from celery_locks.lease import Busy, Holding
from celery_locks.stores.getlock import statements
from celery_locks.stores.sessions import Broken, Held, Refused, Session, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celery_locks.stores.getlock.connection import Wire
    from celery_locks.stores.sessions import Times

MOVED = "the session has changed between two requests: something between us and the server shares sessions"
#: A key is moved by a forced release only.
TRIES = 5


class MySQLSession(Session):
    """One connection. It ends when an interrupt strikes while something is written or read.

    While it waits, which is nearly all of the time, an interrupt or the end of our patience leaves an answer, or the
    rest of one, to be heard before the next request.
    """

    def __init__(self, wire: Wire, times: Times, clock: Callable[[], float]) -> None:
        self._wire = wire
        self._unheard: float | None = None
        self._moved: dict[bytes, int] = {}
        self.id = 0
        super().__init__(wire.fd, times, clock)
        wire.wait_with(self.wait)

    def close(self) -> None:
        # Without a word: a request may be under way, and the server frees the locks when the connection is closed.
        self._wire.drop()

    def finish(self) -> None:
        if self._unheard is not None:
            with contextlib.suppress(Refused):
                # Who asked is gone.
                self._hear(self._unheard)

    def ping(self) -> None:
        if self.identity()[0] != self.id:
            raise Broken(MOVED)

    def sweep(self) -> None:
        unused = [name for (name,) in self.do(statements.unused()).rows]
        if unused:
            self.do(statements.sweep(unused))
        self.is_behind = len(unused) == statements.SWEPT_AT_ONCE

    def identity(self) -> tuple[int, str]:
        """Whose connection this is, and what the server is."""
        ((number, version),) = self.do(statements.IDENTITY).rows
        return int(number), str(version)

    def take(self, held: Held) -> Taken | Busy:
        for _ in range(TRIES):
            place = self._moved.get(held.name, 0)
            answer = self.do(statements.take(held, place, self.id))
            if answer.affected_rows:
                return Taken(answer.insert_id or self._fence(held.name), place)
            if (busy := self._why_not(held, place)) is not None:
                return busy
        return Busy()

    def _why_not(self, held: Held, place: int) -> Busy | None:
        """Who has it; None when the key has moved, and is to be tried there."""
        ((got, session, now, owner),) = self.do(statements.why_not(held.name)).rows
        if session != self.id:
            raise Broken(MOVED)
        if got is None:
            # Neither ours nor another's: the server could not tell.
            raise Refused("GET_LOCK answered NULL", 0)
        if now not in (None, place):
            self.do(statements.undo(held, place))
            self._moved[held.name] = now
            return None
        return Busy(_text(owner) if owner else None)

    def _fence(self, name: bytes) -> int:
        return int(self.do(statements.look(name)).rows[0][3])

    def still(self, held: Iterable[Held]) -> set[bytes]:
        wanted = {each.name: (each.fence, each.place) for each in held}
        rows = self.do(statements.still(wanted, self.id)).rows
        return {name for text, *found in rows if wanted[name := bytes.fromhex(text)] == tuple(found)}

    def give_back(self, held: Held) -> bool:
        return bool(self.do(statements.give_back(held)).rows[0][0])

    def undo(self, held: Held) -> None:
        self.do(statements.undo(held, held.place if held.fence else self._moved.get(held.name, 0)))

    def look(self, name: bytes) -> Held | None:
        for prefix, key, owner, fence in self.do(statements.look(name)).rows:
            return Held(name, _text(prefix), _text(key), _text(owner), fence)
        return None

    def page(self, prefix: str, after: bytes) -> list[tuple[bytes, Holding]]:
        rows = self.do(statements.page(prefix, after)).rows
        return [
            (bytes.fromhex(name), Holding(_text(key), _text(owner), fence, None)) for name, key, owner, fence in rows
        ]

    def force(self, name: bytes) -> bool:
        return bool(self.do(statements.force(name)).affected_rows)

    def do(self, text: str) -> Any:
        """The last answer to one or more statements, sent together."""
        self.finish()
        asked = self._clock()
        try:
            self._wire.ask(text)
            self._unheard = asked
        except BaseException as error:
            # Half of it may have been sent.
            raise self._broken(error) from error
        return self._hear(asked)

    def _hear(self, asked: float) -> Any:
        self.listen()
        try:
            result = self._all(asked)
            self._unheard = None
        except pymysql.Error as error:
            if not self._wire.open:
                raise self._broken(error) from error
            self.heard, self._unheard = asked, None
            raise Refused(*reversed(error.args[:2])) from error
        except BaseException as error:
            if self._wire.is_waiting:
                raise
            raise self._broken(error) from error
        return result

    def _all(self, asked: float) -> Any:
        result = self._wire.hear()
        self.heard = asked
        while result.has_next:
            result = self._wire.hear()
        return result

    def _broken(self, error: BaseException) -> BaseException:
        """The connection is in the middle of something: nobody can go on with it. An interrupt stays what it is."""
        self.end()
        return Broken(str(error.args[-1] if error.args else error)) if isinstance(error, Exception) else error


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")
