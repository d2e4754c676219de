"""What all nodes together show of the locks they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.stores.redlock import scripts
from celery_locks.stores.redlock.ask import Ask, Command
from celery_locks.stores.redlock.names import held
from celery_locks.stores.redlock.outage import unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.errors import StoreUnavailable
    from celery_locks.lease import Holding
    from celery_locks.stores.redlock.names import Names
    from celery_locks.stores.redlock.ring import Ring

AT_ONCE = 500


def look(ring: Ring, keys: Sequence[str], names: Names) -> list[Holding | None] | StoreUnavailable:
    """Who has each key. Where silent nodes could make a majority of it, the key counts as taken."""
    ask = Ask(scripts.INSPECT, [names.lock(key) for key in keys], ())
    ring.ask([ask], lambda: False)
    if len(ask.answers) < ring.majority:
        return unavailable(ring, [ask])
    silent = len(ring.nodes) - len(ask.answers)
    return [
        held(key, [answer[place] for answer in ask.answers.values() if answer[place]], ring.majority, silent)
        for place, key in enumerate(keys)
    ]


class Scan:
    """The names that match a glob, from all nodes side by side, each name once."""

    def __init__(self, glob: str) -> None:
        self._glob = glob
        #: Where each node goes on, by its place in the ring; None before the first page.
        self._cursors: dict[int, bytes] | None = None
        self._lost = 0
        self._seen: set[bytes] = set()

    @property
    def is_over(self) -> bool:
        """Whether there are no more pages."""
        return self._cursors is not None and not self._cursors

    def page(self, ring: Ring) -> list[bytes] | StoreUnavailable:
        """The next names."""
        asks = self._first(ring) if self._cursors is None else self._next(ring, self._cursors)
        cursors, page = {}, []
        for place, ask in asks.items():
            if answer := ask.answers.get(ring.nodes[place]):
                page += [name for name in dict.fromkeys(answer[1]) if name not in self._seen]
                self._seen.update(page)
                cursors[place] = answer[0]
            else:
                self._lost += 1
        self._cursors = {place: cursor for place, cursor in cursors.items() if cursor != b"0"}
        if self._lost > len(ring.nodes) - ring.majority:
            # Some lock may have no node left that would show it.
            return unavailable(ring, [*asks.values()])
        return page

    def _first(self, ring: Ring) -> dict[int, Command]:
        ask = self._command(b"0")
        ring.ask([ask], lambda: False)
        return dict.fromkeys(range(len(ring.nodes)), ask)

    def _next(self, ring: Ring, cursors: dict[int, bytes]) -> dict[int, Command]:
        asks = {place: self._command(cursor) for place, cursor in cursors.items()}
        ring.ask_each({ring.nodes[place]: ask for place, ask in asks.items()})
        return asks

    def _command(self, cursor: bytes) -> Command:
        return Command("SCAN", cursor, "MATCH", self._glob, "COUNT", AT_ONCE)
