"""PyMySQL's connection with answers that are waited for outside of it, and heard later where they are late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymysql import OperationalError
from pymysql.connections import Connection
from pymysql.constants import COMMAND, CR

from celery_locks.stores.sessions import Unheard

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE = 65_536


class Wire(Connection):  # type: ignore[misc]  # PyMySQL has no types
    """PyMySQL closes its connection when an answer is late, or when an interrupt strikes while it reads.

    A request of two statements has two answers, and the second may be late when the first has come. So whoever waits
    here may give up, or be struck: nothing that came is lost, and an answer that is half read is read again from its
    first byte.
    """

    def __init__(self, **settings: Any) -> None:
        self._wait: Callable[[], None] | None = None
        #: What came and is not heard yet, and the number of the packet it begins with.
        self._come: tuple[bytes, int] = (b"", 0)
        self._at = 0
        #: Whether it was while nothing was read that the last hearing was broken off.
        self.is_waiting = False
        super().__init__(**settings)

    @property
    def fd(self) -> int:
        """Of its socket."""
        return int(self._sock.fileno())

    def drop(self) -> None:
        """Close it without a word: PyMySQL's own `close` says goodbye, and raises when it is repeated."""
        self._force_close()

    def wait_with(self, wait: Callable[[], None]) -> None:
        """From now on this waits until there is something to read, or raises."""
        self._wait = wait

    def ask(self, text: str) -> None:
        """Send one or more statements."""
        self._execute_command(COMMAND.COM_QUERY, text)
        self._come = (b"", self._next_seq_id)

    def hear(self) -> Any:
        """The next result. When the wait for it is broken off it may be heard later."""
        self._at, self._next_seq_id, self.is_waiting = 0, self._come[1], False
        try:
            self.next_result()
        finally:
            if not self.is_waiting:
                # One that the server has refused is heard, too.
                self._come = (self._come[0][self._at :], self._next_seq_id)
        return self._result

    def _read_bytes(self, many: int) -> bytes:
        if self._wait is None:
            return bytes(super()._read_bytes(many))
        start = self._at
        while len(self._come[0]) < start + many:
            self._receive(self._wait)
        self._at = start + many
        return self._come[0][start : self._at]

    def _receive(self, wait: Callable[[], None]) -> None:
        came, first = self._come
        if not (hasattr(self._sock, "pending") and self._sock.pending()):
            # With TLS more may be here than the socket knows of.
            self.is_waiting = True
            wait()
            self.is_waiting = False
        try:
            more = self._sock.recv(_AT_ONCE)
            self._come = (came + more, first)
        except TimeoutError:
            # Only with TLS: what came was no part of an answer.
            self.is_waiting = True
            raise Unheard("no whole answer in time") from None
        except OSError as error:
            raise self._lost(str(error)) from error
        if not more:
            raise self._lost("it was closed")

    def _lost(self, why: str) -> OperationalError:
        self._force_close()
        return OperationalError(CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query ({why})")
