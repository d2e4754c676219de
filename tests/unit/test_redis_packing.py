"""Commands to Redis as they go over the wire."""

from __future__ import annotations

import enum

import pytest
import redis

from celery_locks.stores.redis.packing import packed


class Word(str, enum.Enum):
    """A text that shows itself as another."""

    GO = "go"


@pytest.fixture
def connection() -> redis.Connection:
    return redis.Connection(protocol=2)


@pytest.mark.parametrize(
    "words",
    [
        ("EVALSHA", "0" * 40, 2, "lock:{wallet}", "lock:{wallet}:fence", "", 30_000, -1),
        ("EVALSHA", "0" * 40, 1, "lock:{Grüße}", "a\r\nb\0c"),
        ("SCAN", b"17", "MATCH", "*"),
        ("EVALSHA", "0" * 40, 1, "lock:{wallet}", Word.GO, 0.5),
    ],
)
def test_a_command_is_packed_as_redis_py_packs_it(connection: redis.Connection, words: tuple[object, ...]) -> None:
    """Texts and numbers, letters of any alphabet, bytes, and what only looks like a text: to the byte."""
    assert b"".join(packed(connection, words)) == b"".join(connection.pack_command(*words))


def test_a_text_that_cannot_be_written_is_refused(connection: redis.Connection) -> None:
    """As redis-py refuses it, before a byte is sent."""
    with pytest.raises(UnicodeEncodeError):
        packed(connection, ("EVALSHA", "\ud800"))


def test_what_is_no_word_is_refused(connection: redis.Connection) -> None:
    """A truth value is none, although it is a number."""
    with pytest.raises(redis.DataError):
        packed(connection, ("EVALSHA", True))
