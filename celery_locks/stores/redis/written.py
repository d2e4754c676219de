"""What the scripts are told and what they answer, as it is written in Redis."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from celery_locks.lease import Busy, Holding
from celery_locks.stores.base import Look, Waiting
from celery_locks.ticket import parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.lease import Claim
    from celery_locks.ticket import Ticket

#: How soon a line is looked at again whose key is free, or taken for ever.
_AGAIN = 2.0
_NO_KEY = -2
_MICRO = 1e6
_LOCK = re.compile(r"([0-9]+):(.*)", re.DOTALL)


def _seconds(ms: int) -> float | None:
    return ms / 1000 if ms >= 0 else None


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def asks_with(ticket: Ticket | None, *, heard: bool) -> tuple[str, str, str, str]:
    """What an acquire says of its ticket, and where it waits if that can be `heard`."""
    if ticket is None:
        return "", "", "", ""
    name, date = parts(ticket.name)
    return name, ticket.stance.value, date, ticket.home if heard else ""


def asks_for(claim: Claim) -> str | int:
    """What an acquire wants that does not want the key alone."""
    return "r" if claim.shared else claim.slots


def attends_with(waiting: Waiting, home: str) -> tuple[str, str, str, str]:
    """What is said of one that is present."""
    return *parts(waiting.ticket), home, "1" if waiting.comes else ""


def busy(answer: Sequence[Any]) -> Busy:
    """The answer to an acquire that got no lease."""
    if not answer:
        return Busy()
    holder, remaining, *line = answer
    known = None if holder is None else _text(holder), _seconds(remaining)
    if len(line) <= 1:
        return Busy(*known, age=_age(*line))
    ticket, place, present, age, *kept = line
    is_kept = kept == [1] or holder is None
    return Busy(*known, place, _text(ticket), bool(present), is_kept=is_kept, age=_age(age))


def _age(micro: int | None = None) -> float | None:
    return None if micro is None else max(0.0, micro / _MICRO)


def look(answer: Any) -> Look | None:
    """The answer to one who attends; nothing where there was none."""
    if isinstance(answer, Exception):
        return None
    ms, turn, *line = answer
    again = _AGAIN if ms < 0 else ms / 1000
    if not line:
        return Look(again, bool(turn), ms == _NO_KEY)
    ticket, place, holder = line
    known = None if holder is None else _text(holder), _seconds(ms)
    return Look(again, bool(turn), ms == _NO_KEY, Busy(*known, place or None, _text(ticket)))


def holdings(key: str, answer: Sequence[Any]) -> list[Holding]:
    """A lock as it is shown, once for each holder; nothing for what is free, or only kept for the first in its line."""
    return [
        _holding(key, written, _seconds(ms))
        for written, ms in zip(map(_text, answer[::2]), answer[1::2], strict=True)
        if not written.startswith("~")
    ]


def _holding(key: str, written: str, remaining: float | None) -> Holding:
    if ours := _LOCK.match(written):
        return Holding(key, ours[2], int(ours[1]), remaining)
    return Holding(key, written, 0, remaining)


def good(answer: Any) -> Any:
    """The answer, unless it is an error."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def some(answers: list[Any]) -> list[Any]:
    """The answers, unless there is none at all: that is an outage."""
    if answers and all(isinstance(answer, Exception) for answer in answers):
        raise answers[0]
    return answers
