"""A ticket is a place in the line of a key: its name is from who waits, its date from the line."""

from __future__ import annotations

import enum
import itertools
import re
from typing import NamedTuple


class Stance(str, enum.Enum):
    """What a claim does whose key is taken: waits where it asks; waits there if it is the next in line; goes away."""

    WAITS = "wait"
    WAITS_IF_NEXT = "next"
    GOES = "go"


class Ticket(NamedTuple):
    """A place in the line of a key. The store dates its name when it joins; with that it comes back to its place.

    `home`: where wakes for it are heard, if it waits where it asks. `echo`: a number that no other try of this process
    has, if the key itself may be handed over to it there: that says it back.
    """

    name: str
    stance: Stance = Stance.WAITS
    home: str = ""
    echo: int = 0


#: Numbers of tries.
_echoes = itertools.count(1)


def numbered(ticket: Ticket) -> Ticket:
    """For a try of its own: what an earlier one is told, however late, is not meant for it."""
    return ticket._replace(echo=next(_echoes))


#: What a ticket asks for that does not want the key alone: to read, or to be one of so many.
_MARK = re.compile(r"^(?:r|[0-9]+)\.")
#: A ticket and when it joined, in microseconds of the store's time.
_DATED = re.compile(r"([0-9]{16})-(.+)", re.DOTALL)


def parts(ticket: str) -> tuple[str, str]:
    """A ticket's name, which it has from who waits, and its date, which it has from the line, or nothing."""
    dated = _DATED.fullmatch(ticket)
    return (dated[2], dated[1]) if dated else (ticket, "")


def undated(ticket: str) -> str:
    """A ticket's name alone, which it has from its beginning to its end."""
    return parts(ticket)[0]


def ticket_of(owner: str, slots: int = 1, *, shared: bool = False) -> str:
    """The ticket of an execution."""
    return owner[-16:] if slots == 1 and not shared else _mark(slots, shared=shared) + owner[-16:]


def marked(ticket: str, slots: int, *, shared: bool) -> str:
    """The ticket of one that asks for so much now, whatever it asked for when it joined.

    A line has to know who of those that wait can hold the key together. What excludes all others has no mark.
    """
    name, date = parts(ticket)
    now = _mark(slots, shared=shared) + _MARK.sub("", name)
    return f"{date}-{now}" if date else now


def _mark(slots: int, *, shared: bool) -> str:
    return "r." if shared else "" if slots == 1 else f"{slots}."
