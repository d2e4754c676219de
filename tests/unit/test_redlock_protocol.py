"""Answers of Redis, read from whatever has arrived so far."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from celery_locks.stores.redlock.protocol import Answers, packed

ANSWERS = (
    b":1795246279676021\r\n*2\r\n$4\r\nanna\r\n:-1\r\n*0\r\n$-1\r\n+OK\r\n$6\r\na\r\nb\r\n\r\n*2\r\n*1\r\n:1\r\n*0\r\n"
)
READ = [1795246279676021, [b"anna", -1], [], None, b"OK", b"a\r\nb\r\n", [[1], []]]


def test_a_request_is_packed() -> None:
    """Numbers and texts as UTF-8, each with its length in bytes."""
    assert (
        packed("SET", "ключ", 10, b"\0")
        == b"*4\r\n$3\r\nSET\r\n$8\r\n\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87\r\n$2\r\n10\r\n$1\r\n\0\r\n"
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(ANSWERS)])
def test_answers_are_read_however_they_are_cut(size: int) -> None:
    """An answer is given when it is whole and not before, with nothing lost in between."""
    answers = Answers()
    found = []
    for start in range(0, len(ANSWERS), size):
        found += answers.feed(ANSWERS[start : start + size])
    assert found == READ


def test_half_an_answer_is_none() -> None:
    """Of two answers, one whole, the first is given at once."""
    answers = Answers()
    assert list(answers.feed(b":1\r\n:")) == [1]
    assert list(answers.feed(b"2\r")) == []
    assert list(answers.feed(b"\n")) == [2]


def test_a_refusal_is_an_answer() -> None:
    """It is given as an error, for others on the same connection go on."""
    refusal, after = Answers().feed(b"-OOM command not allowed\r\n:1\r\n")
    assert isinstance(refusal, ResponseError)
    assert str(refusal) == "OOM command not allowed"
    assert after == 1


@pytest.mark.parametrize(
    ("data", "shown"),
    [(b"HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 400"), (b":x\r\n", "x"), (b"$many\r\n", "many"), (b"*\r\n", "")],
)
def test_what_is_no_answer_ends_the_connection(data: bytes, shown: str) -> None:
    """Another kind of server is told from Redis, also where its first letter is one of Redis' own."""
    with pytest.raises(OSError, match=rf"does not speak Redis' protocol: b'{shown}"):
        list(Answers().feed(data))
