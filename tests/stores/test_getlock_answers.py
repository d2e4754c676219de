"""Answers of MySQL and MariaDB that come in pieces."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

import pymysql
import pytest

from celery_locks.stores.getlock.connection import Wire
from celery_locks.stores.sessions import Unheard

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A statement that changed 3 rows, with another answer behind it; and one that changed 5.
FIRST, SECOND = b"\x00\x03\x00\x0a\x00\x00\x00", b"\x00\x05\x07\x02\x00\x00\x00"
REFUSED = b"\xff\x7a\x04#42S02no such table"


class Ends:
    """A connection that waits for nothing, and its server's end."""

    def __init__(self) -> None:
        ours, self.server = socket.socketpair()
        self.wire = Wire(defer_connect=True)
        self.wire._sock, self.wire._current_timeout = ours, None
        self.wire.wait_with(lambda: self._wait(ours))
        self.wire.ask("SELECT 1")

    def say(self, number: int, packet: bytes) -> Iterator[None]:
        """Byte by byte."""
        for byte in len(packet).to_bytes(3, "little") + bytes([number]) + packet:
            yield
            self.server.send(bytes([byte]))

    @staticmethod
    def _wait(ours: socket.socket) -> None:
        if not select.select([ours], [], [], 0)[0]:
            raise Unheard


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.wire.drop()
    ends.server.close()


def test_an_answer_that_comes_byte_by_byte_is_heard_whole(ends: Ends) -> None:
    """Wherever our patience ends: it is taken up again, the first of two answers is not heard twice."""
    heard = []
    for number, packet in enumerate((FIRST, SECOND), 1):
        for _ in ends.say(number, packet):
            with pytest.raises(Unheard):
                ends.wire.hear()
            assert ends.wire.is_waiting
        result = ends.wire.hear()
        heard.append((result.affected_rows, result.insert_id, bool(result.has_next)))
    assert heard == [(3, 0, True), (5, 7, False)]


def test_a_refusal_that_comes_late_is_heard_once(ends: Ends) -> None:
    """And what comes behind it is the next answer."""
    for _ in ends.say(1, REFUSED):
        with pytest.raises(Unheard):
            ends.wire.hear()
    with pytest.raises(pymysql.ProgrammingError, match="no such table"):
        ends.wire.hear()
    assert ends.wire.open
    ends.wire.ask("SELECT 1")
    list(ends.say(1, SECOND))
    assert ends.wire.hear().affected_rows == 5


def test_the_end_of_a_connection_is_no_wait(ends: Ends) -> None:
    """In the middle of an answer, too."""
    list(ends.say(1, SECOND[:2]))
    ends.server.close()
    with pytest.raises(pymysql.OperationalError, match="Lost connection"):
        ends.wire.hear()
    assert not ends.wire.is_waiting
    assert not ends.wire.open
