"""What processes that share a board write for each other, and how it looks in memory."""

from __future__ import annotations

import marshal
import math
import struct
from typing import Any, NamedTuple

#: What the loss of a lease does to its job: nothing, an exception, the end of its process.
FLAG, RAISE, KILL = range(3)

_TERM = struct.Struct("=dddqId")
_REASON = 192
_NEWS = struct.Struct(f"=dII{_REASON}s")
_LOST, _SAID = 1, 2
#: How many bytes a term and a piece of news have.
TERM_SIZE, NEWS_SIZE = _TERM.size, _NEWS.size


class Entry(NamedTuple):
    """A claim, the process that asks, and the number of the keeper that it has in common with its parent."""

    pid: int
    keeper: int
    key: str
    owner: str
    ttl: float
    task: str | None
    task_id: str | None
    ticket: str | None
    others: tuple[str, ...] = ()


class Term(NamedTuple):
    """How a lease is to be kept: until when it is held now, its ttl, how often to beat, and what its loss does.

    `until`: the key stays taken until then at least.
    """

    deadline: float
    ttl: float
    interval: float
    fence: int
    on_lost: int
    until: float = -math.inf


class News(NamedTuple):
    """What became of a lease: until when it is held, or why it is lost, and whether that was reported."""

    deadline: float
    is_lost: bool = False
    reason: str = ""
    is_said: bool = False


def entry_to_bytes(entry: tuple[Any, ...]) -> bytes:
    """An `Entry` as it is written."""
    try:
        return marshal.dumps(entry)
    except ValueError:
        # A key may be more than a text, such as a member of an enumeration: all of it cannot be written.
        return marshal.dumps(tuple(_plain(each) for each in entry))


def entry_from_bytes(data: bytes) -> Entry:
    """An `Entry` as it was written by a child of our own; whether all of it was is known by then."""
    return Entry(*marshal.loads(data))  # noqa: S302 - see above


def term_to_bytes(term: tuple[Any, ...]) -> bytes:
    """A `Term` as it is written."""
    return _TERM.pack(*term)


def term_from_bytes(data: bytes) -> Term:
    """A `Term` as it was written."""
    return Term(*_TERM.unpack(data))


def news_to_bytes(news: News) -> bytes:
    """News as they are written, a long reason without its end."""
    reason = news.reason.encode()[:_REASON]
    return _NEWS.pack(news.deadline, _LOST * news.is_lost | _SAID * news.is_said, len(reason), reason)


def news_from_bytes(data: bytes) -> News:
    """News as they were written."""
    deadline, flags, length, reason = _NEWS.unpack(data)
    return News(deadline, bool(flags & _LOST), reason[:length].decode(errors="replace"), bool(flags & _SAID))


def _plain(fact: Any) -> Any:
    if isinstance(fact, tuple):
        return tuple(_plain(each) for each in fact)
    for kind in (str, int, float):
        if isinstance(fact, kind):
            return getattr(kind, f"__{kind.__name__}__")(fact)
    return None if fact is None else str(fact)
