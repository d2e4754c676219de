"""How far all entries of a schedule have come: written in the store first, and only by the beat that leads."""

from __future__ import annotations

import itertools
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery_locks.beat.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from celery_locks.stores.positions import Positions

logger = logging.getLogger("celery_locks.beat")

#: So long it is remembered how far an entry had come that is no more.
KEPT = timedelta(days=100)


class Book:
    """The positions of a schedule, as the store has them, while this beat leads."""

    def __init__(self, store: Positions, schedule: str) -> None:
        self._store, self._schedule = store, schedule
        self._fence: int | None = None
        self._positions: dict[str, Position] = {}
        self._seen: set[str] = set()
        #: Each write has its own, so that one that comes late is known to.
        self._numbers = itertools.count(1)

    def __getitem__(self, name: str) -> Position:
        return self._positions[name]

    def is_open(self, fence: int) -> bool:
        """Take up what is written, under the fence of the lead: False when somebody leads under a higher one."""
        if self._fence == fence:
            return True
        texts = self._store.take_up(self._schedule, fence)
        if texts is None:
            return False
        self._positions = {name: found for name, text in texts.items() if (found := _read(name, text))}
        self._fence, self._seen = fence, set()
        return True

    def write(self, name: str, position: Position) -> bool:
        """Note how far an entry has come; False when somebody else leads."""
        return self._put({name: position})

    def see(self, entries: Mapping[str, Any], origin: Callable[[Any], datetime], now: datetime) -> bool:
        """Note which entries there are, and from when those count of which nothing is known yet."""
        if entries.keys() == self._seen:
            return True
        changed: dict[str, Position | None] = {}
        for name in entries.keys() - self._seen:
            known = self._positions.get(name)
            if known is None:
                changed[name] = Position(origin(entries[name]))
            elif known.is_gone:
                # It was not due while it was gone.
                changed[name] = Position(max(origin(entries[name]), known.last))
        for name in self._positions.keys() - entries.keys():
            known = self._positions[name]
            if not known.is_gone:
                changed[name] = Position(known.last, is_gone=True)
            elif known.last < now - KEPT:
                changed[name] = None
        if changed and not self._put(changed):
            return False
        self._seen = set(entries)
        return True

    def _put(self, changed: Mapping[str, Position | None]) -> bool:
        texts = {name: position and position.written() for name, position in changed.items()}
        if self._fence is None or not self._store.put(self._schedule, self._fence, next(self._numbers), texts):
            self._fence = None
            return False
        for name, position in changed.items():
            if position is None:
                del self._positions[name]
            else:
                self._positions[name] = position
        return True


def _read(name: str, text: str) -> Position | None:
    try:
        return Position.read(text)
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("beat: what was sent last of %r cannot be read (%r): it counts from now on", name, error)
        return None
