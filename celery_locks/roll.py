"""Who waits in this process for which key, and when each key is to be looked at."""

from __future__ import annotations

import heapq
import logging
import random
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from celery_locks.ticket import parts, undated

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Busy
    from celery_locks.stores.base import Waiting, Wake

logger = logging.getLogger("celery_locks.waker")
T = TypeVar("T")

#: Keys are looked at this much after the time at which something may have changed, spread out among the workers.
LATER = 0.05
#: A key that somebody here waits for is looked at this often at least: whoever is called elsewhere is told there alone,
#: and may not come. Shorter than a claim window, for a look within that knows when it is over.
OFTEN = 1.5
#: With more keys than these it is less often, so that looking stays a small part of the work.
MANY = 1000
#: Looks that need not be made any more are forgotten when there are so many.
STALE = 1000
#: Wakes for those who are not here yet, as many as are remembered.
REMEMBERED = 1000


def surely(tell: Callable[[T], None], what: T) -> None:
    """Whatever one does that is called or told, the others who wait must be too."""
    try:
        tell(what)
    except Exception:
        logger.exception("one who waits could not be told or called")


@dataclass
class Waiter:
    """A ticket, whom to call when its turn comes, and whom to tell, once, where in line it stands."""

    waiting: Waiting
    call: Callable[[str], None]
    joined: Callable[[Busy], None] | None = None
    #: Its turn came before it was told.
    woken: bool = False
    #: What called it.
    wake: Wake | None = None


@dataclass
class _Key:
    names: dict[str, None] = field(default_factory=dict)
    look_at: float = 0.0


class Roll:
    """Knows each ticket by its name alone: the date it has from its line comes later. No thread of its own."""

    def __init__(self) -> None:
        self.waiters: dict[str, Waiter] = {}
        self.keys: dict[str, _Key] = {}
        self._looks: list[tuple[float, str]] = []

    def add(self, waiter: Waiter) -> None:
        """It waits here from now on."""
        key, name = waiter.waiting.key, undated(waiter.waiting.ticket)
        self.waiters[name] = waiter
        self.keys.setdefault(key, _Key()).names[name] = None

    def find(self, ticket: str) -> Waiter | None:
        """Who waits with this ticket, if anybody here does."""
        return self.waiters.get(undated(ticket))

    def has(self, waiting: Waiting) -> bool:
        """Whether this ticket waits here, or, of an empty one, anybody for its key."""
        return undated(waiting.ticket) in self.waiters if waiting.ticket else waiting.key in self.keys

    def remove(self, ticket: str) -> Waiter | None:
        """It waits no more."""
        name = undated(ticket)
        waiter = self.waiters.pop(name, None)
        known = self.keys.get(waiter.waiting.key) if waiter else None
        if waiter and known:
            known.names.pop(name, None)
            if not known.names:
                del self.keys[waiter.waiting.key]
        return waiter

    def emptied(self) -> list[Waiting]:
        """Nobody waits any more; those who did."""
        everybody = self.everybody()
        self.waiters.clear()
        self.keys.clear()
        return everybody

    def everybody(self) -> list[Waiting]:
        """All who wait here, in the order in which they came to their lines."""
        return sorted((waiter.waiting for waiter in self.waiters.values()), key=_since)

    def waiting_for(self, key: str) -> list[Waiting]:
        """All who wait here for this key, in that order: a store that has forgotten them may call the first at once."""
        known = self.keys.get(key)
        return sorted((self.waiters[name].waiting for name in known.names), key=_since) if known else []

    def often(self) -> float:
        """In so many seconds at most a key is looked at again."""
        return OFTEN * max(1.0, len(self.keys) / MANY)

    def look_at(self, key: str, when: float) -> float | None:
        """Look at this key a little after that time, which is returned; None when nobody here waits for it."""
        known = self.keys.get(key)
        if known is None:
            return None
        if 0 < known.look_at <= when + LATER:
            # It is looked at before anyhow.
            return known.look_at
        known.look_at = when + LATER * random.random()  # noqa: S311 - no secret
        heapq.heappush(self._looks, (known.look_at, key))
        if len(self._looks) > 2 * len(self.keys) + STALE:
            self._looks = [look for look in self._looks if not self._is_stale(*look)]
            heapq.heapify(self._looks)
        return known.look_at

    def next_look(self) -> float | None:
        """When the next key is to be looked at."""
        while self._looks and self._is_stale(*self._looks[0]):
            heapq.heappop(self._looks)
        return self._looks[0][0] if self._looks else None

    def due(self, now: float) -> list[str]:
        """The keys to be looked at now, each once."""
        found = []
        while self._looks and self._looks[0][0] <= now:
            look_at, key = heapq.heappop(self._looks)
            if not self._is_stale(look_at, key):
                self.keys[key].look_at = 0.0
                found.append(key)
        return found

    def _is_stale(self, look_at: float, key: str) -> bool:
        known = self.keys.get(key)
        return known is None or known.look_at != look_at


class Early:
    """Wakes that came before their tickets, the latest of them."""

    def __init__(self) -> None:
        self._tickets: OrderedDict[str, bool] = OrderedDict()

    def add(self, ticket: str) -> None:
        """Nobody who is here was meant."""
        self._tickets[ticket] = True
        if len(self._tickets) > REMEMBERED:
            self._tickets.popitem(last=False)

    def taken(self, ticket: str) -> bool:
        """Whether this one has been called already; the answer is given once."""
        return self._tickets.pop(ticket, False)


def _since(waiting: Waiting) -> str:
    """Those without a date come last, as they came here."""
    return parts(waiting.ticket)[1] or "~"
