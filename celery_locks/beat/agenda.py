"""What is due when, of all entries, each looked up once until it was sent or changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.beat import due

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from celery_locks.beat.book import Book
    from celery_locks.beat.position import Position

logger = logging.getLogger("celery_locks.beat")


class _Row(NamedTuple):
    plan: Any
    position: Position
    due: datetime | None


class Agenda:
    """The next due time of each entry, and which is not to be looked at before a time."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._put_off: dict[str, datetime] = {}
        #: When an entry was last found not to be due although its time had come.
        self._shut: dict[str, datetime] = {}

    def times(self, entries: Mapping[str, Any], book: Book, now: datetime) -> list[tuple[datetime, datetime, str]]:
        """When each is to be looked at next and its due time, the first first."""
        for name in self._rows.keys() - entries.keys():
            del self._rows[name]
            self.sent(name)
        found = []
        for name, entry in entries.items():
            at = self._due(name, entry.schedule, book[name], now)
            if at is not None:
                found.append((max(at, self._put_off.get(name, at)), at, name))
        return sorted(found)

    def put_off(self, name: str, until: datetime) -> None:
        """Look at it then."""
        self._put_off[name] = until

    def shut(self, name: str, now: datetime, until: datetime) -> None:
        """Its time has come, and its schedule says that it is not due: what it misses meanwhile counts as one run."""
        self._shut[name] = now
        self.put_off(name, until)

    def limit(self, name: str, bound: datetime) -> datetime:
        """Up to here one run stands for all that was missed."""
        return max(bound, self._shut.get(name, bound))

    def sent(self, name: str) -> None:
        """It may be looked at again."""
        self._put_off.pop(name, None)
        self._shut.pop(name, None)

    def _due(self, name: str, plan: Any, position: Position, now: datetime) -> datetime | None:
        if position.due is not None:
            return position.due
        row = self._rows.get(name)
        if row is None or row.plan is not plan or row.position is not position:
            row = self._rows[name] = _Row(plan, position, _after(name, plan, position.last, now))
            self._put_off.pop(name, None)
        return row.due if due.is_told(plan) else now


def _after(name: str, plan: Any, last: datetime, now: datetime) -> datetime | None:
    try:
        return due.after(plan, last, now)
    except Exception:
        # One entry must not stop the others.
        logger.exception("beat: when %r is due next cannot be told: it is not sent until it is changed", name)
        return None
