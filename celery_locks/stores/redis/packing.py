"""A command as it goes over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIMPLE = {str, int}


def packed(connection: Any, words: Sequence[Any]) -> Sequence[bytes]:
    """In one piece, made in a third of the time that redis-py takes, which knows of more kinds of words than we say."""
    if _SIMPLE.issuperset(map(type, words)):
        text = "".join([f"${len(word)}\r\n{word}\r\n" for word in map(str, words)])
        if text.isascii():
            return (f"*{len(words)}\r\n{text}".encode("ascii"),)
    pieces: Sequence[bytes] = connection.pack_command(*words)
    return pieces
