"""A claim asks for a key. What a store answers, and what it shows of keys that are taken."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from celery_locks.ticket import Ticket


class Claim(NamedTuple):
    """One owner asks for one key, or for several, all or none. Asking again it asks for the same lease.

    With a ticket it joins the line of a key that is taken, where the store keeps lines.
    """

    key: str
    owner: str
    ttl: float
    task: str | None = None
    task_id: str | None = None
    ticket: Ticket | None = None
    #: So many may hold the key at a time.
    slots: int = 1
    #: It only reads: it holds the key together with others that do.
    shared: bool = False
    #: Keys that are taken together with it, all or none, in order, and behind it in that order.
    others: tuple[str, ...] = ()
    #: The key stays taken for so long after it was, also when it is given back before.
    at_least: float = 0.0
    #: It takes the key over from this owner, if that has it: nobody comes in between, and the fence stays. Else it is a
    #: claim like any other.
    after: str = ""
    #: Others may ask for the key, and have it, in this very name: what is not heard of is not given up for them all.
    in_common: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys it asks for, in the order in which everybody takes them."""
        return (self.key, *self.others)

    @property
    def shown(self) -> str:
        """What it asks for, as a message names it."""
        return repr([*self.keys]) if self.others else repr(self.key)

    def of(self, key: str) -> Claim:
        """What it asks of one of its keys."""
        return self._replace(key=key, others=()) if self.others else self


class Busy(NamedTuple):
    """The answer to a claim whose key is taken: by whom, for how long at most, and our place in line, if known.

    `ticket` is the dated name of one that is in line; `present`: it is to wait where it asked.
    """

    holder: str | None = None
    remaining: float | None = None
    place: int | None = None
    ticket: str | None = None
    present: bool = True
    #: Which of several keys is taken, the first of those that are.
    key: str | None = None
    #: Nothing but turns of others is in its way: what they are kept for has not been taken yet.
    is_kept: bool = False
    #: For how many seconds the holder has had it, by the store's clock.
    age: float | None = None


class Holding(NamedTuple):
    """A key that is taken, as a store shows it."""

    key: str
    owner: str
    fence: int
    remaining: float | None


class Verdict(enum.Enum):
    """What a store says of a lease that was to be renewed. UNKNOWN: the part that has it did not answer."""

    RENEWED = "renewed"
    LOST = "lost"
    UNKNOWN = "unknown"
