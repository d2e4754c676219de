"""How far a schedule has come, in a table: a row each, with the fence and the number of its last write.

The number is in the column for the time at which a lease ends, above all times: such a row is never purged.

Each statement stands alone. Whoever takes a schedule up raises first the fence of its head, and then that of all its
rows, before it reads them: a row that is written under a lower fence was written before, or not at all.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from celery_locks.stores.naming import require_name
from celery_locks.stores.positions import Positions
from celery_locks.stores.sql.statements import HOUR
from celery_locks.stores.sql.table import about, read, written
from celery_locks.stores.sql.window import NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_locks.stores.sql.database import Database
    from celery_locks.stores.sql.statements import Statement, Statements

# It is looked for in a table of its own, for MySQL does not read what it changes.
_HEAD = "COALESCE((SELECT top.fence FROM (SELECT MAX(fence) AS fence FROM {table} WHERE digest = :head) AS top), 0)"
# MySQL assigns from left to right, and the fence is to be compared as it was.
_RAISE = """
UPDATE {table}
SET expires_at = CASE WHEN fence = :fence THEN expires_at ELSE :never END, fence = :fence, expires_hour = :hour WHERE
"""
_LEAD = f"{_RAISE} digest = :head AND fence <= :fence"
_FOLLOW = f"{_RAISE} prefix = :mark AND fence <= :fence"
_READ = "SELECT name, owner FROM {table} WHERE prefix = :mark AND owner IS NOT NULL"
_IS_NEWER = "(fence < :fence OR (fence = :fence AND expires_at <= :number))"
_PUT = f"""
UPDATE {{table}} SET owner = :text, fence = :fence, expires_at = :number, expires_hour = :hour
WHERE digest = :digest AND {_IS_NEWER} AND {_HEAD} <= :fence
"""
_REMOVE = f"DELETE FROM {{table}} WHERE digest = :digest AND {_IS_NEWER}"
_STANDS = "SELECT fence FROM {table} WHERE digest = :digest OR (digest = :head AND fence > :fence)"


class _Steps:
    """The statements for one table."""

    def __init__(self, statements: Statements) -> None:
        made = statements.made
        self.ensure = made(statements.tongue.ensure)
        self.lead, self.follow, self.read = made(_LEAD), made(_FOLLOW), made(_READ)
        self.put, self.remove, self.stands = made(_PUT), made(_REMOVE), made(_STANDS)


class SqlPositions(Positions, abc.ABC):
    """The part of an `SqlStore` that keeps positions."""

    prefix: str
    _database: Database
    _steps_made: _Steps | None = None

    def take_up(self, schedule: str, fence: int) -> dict[str, str] | None:
        named = self._schedule(schedule, fence)
        head = {"digest": named["head"], "prefix": "\\schedule", "name": written(schedule)}
        if not self._changed(self._steps.lead, named, head):
            return None
        self._database.ask(self._steps.follow, named)
        return {read(name): read(text) for name, text in self._database.ask(self._steps.read, named).rows}

    def put(self, schedule: str, fence: int, number: int, texts: Mapping[str, str | None]) -> bool:
        named = {**self._schedule(schedule, fence), "number": NEVER + number}
        return all(self._put(schedule, {**named, "text": text}, name) for name, text in texts.items())

    def _put(self, schedule: str, named: dict[str, Any], name: str) -> bool:
        row = {"digest": about("position", f"{self.prefix}{len(schedule)}:{schedule}", name)}
        if named["text"] is None:
            named = {**named, **row}
            return bool(
                self._database.ask(self._steps.remove, named).changed
                or not self._database.ask(self._steps.stands, named).rows
            )
        row |= {"prefix": named["mark"], "name": written(name)}
        return self._changed(self._steps.put, {**named, **row, "text": written(named["text"])}, row)

    def _changed(self, step: Statement, named: dict[str, Any], row: dict[str, Any]) -> bool:
        """Whether a row is changed, that is made first where it is missing."""
        if self._database.ask(step, named).changed:
            return True
        self._database.ask(self._steps.ensure, row)
        return bool(self._database.ask(step, named).changed)

    def _schedule(self, schedule: str, fence: int) -> dict[str, Any]:
        head = about("schedule", self.prefix, require_name(schedule))
        # Its prefix is no lock's.
        return {"head": head, "mark": f"\\position {head}", "fence": fence, "never": NEVER, "hour": NEVER // HOUR}

    @property
    def _steps(self) -> _Steps:
        if self._steps_made is None:
            self._steps_made = _Steps(self._database.statements)
        return self._steps_made
