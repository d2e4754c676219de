"""What this store needs of Redis' protocol: requests as bytes, and answers read from whatever has arrived so far.

redis-py's readers wait for the rest of an answer. Here nobody may wait for one node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator

Word = str | int | bytes


def packed_part(*words: Word) -> bytes:
    """Some words of a request."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def packed(*words: Word) -> bytes:
    """A whole request."""
    return b"*%d\r\n%b" % (len(words), packed_part(*words))


class Answers:
    """Takes bytes as they come, and gives the answers that have arrived whole. A refusal is given, not raised."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, data: bytes) -> Iterator[Any]:
        """The answers that are whole with this data. Raises `OSError` when it is no answer of Redis."""
        data = self._bytes + data
        at = 0
        try:
            while at < len(data):
                answer, at = _read(data, at)
                # Noted before it is given: whoever hears it may end the connection.
                self._bytes = data[at:]
                yield answer
        except _Half:
            self._bytes = data[at:]


class _Half(Exception):
    """The rest has not arrived yet."""


def _read(data: bytes, at: int) -> tuple[Any, int]:
    end = data.find(b"\r\n", at)
    if end < 0:
        raise _Half
    kind, line, after = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b":":
        return _number(line), after
    if kind == b"+":
        return line, after
    if kind == b"-":
        return ResponseError(line.decode("utf-8", "replace")), after
    if kind == b"$":
        return _bulk(data, _number(line), after)
    if kind == b"*":
        return _many(data, _number(line), after)
    raise _foreign(data[at:end])


def _number(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        raise _foreign(line) from None


def _foreign(line: bytes) -> ConnectionError:
    return ConnectionError(f"it does not speak Redis' protocol: {line[:40]!r}")


def _bulk(data: bytes, length: int, at: int) -> tuple[bytes | None, int]:
    if length < 0:
        return None, at
    if len(data) < at + length + 2:
        raise _Half
    return data[at : at + length], at + length + 2


def _many(data: bytes, count: int, at: int) -> tuple[list[Any], int]:
    found = []
    for _ in range(count):
        answer, at = _read(data, at)
        found.append(answer)
    return found, at
