"""What a database remembers of conflicts, in a table of its own: of those keys that have the most.

It is written after a claim was refused, and by one who had to wait when it has the key: who finds a key free writes
nothing there. What cannot be written is not: no lock fails for its statistics.
"""

from __future__ import annotations

import abc
import contextlib
import json
import logging
import math
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease
from celery_locks.stores.naming import require_name
from celery_locks.stores.operations import Conflict, Remembers, Tally
from celery_locks.stores.sql.table import digest, read, written
from celery_locks.stores.sql.window import MICRO

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.claim import Claim
    from celery_locks.stores.sql.database import Database
    from celery_locks.stores.sql.statements import Statement, Statements

logger = logging.getLogger("celery_locks")

#: So many keys of each prefix, and so many conflicts of each.
MOST_CONTENDED, LATEST = 1000, 10
WEEK = 7 * 24 * 3600 * MICRO
#: Letters. Ten conflicts have less, unless names are very long: then fewer are shown.
_LONGEST = 8000
#: Those who wait are known to have been counted, so many in each process.
_ASKERS = 1000
#: Seconds without a try after one that failed, doubled after each that follows it: a table that is missing, and may not
#: be made, would be asked for by each process for ever, and each time the server would write an error.
_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0

# A crowd's fence changes with each that comes: it tells no time.
_AGE = """(SELECT {now} - had.fence FROM {table} AS had
  WHERE had.digest = :digest AND had.holder IS NOT NULL AND had.holder <> '{SEVERAL}' AND had.expires_at > {now})"""
_COUNT = """
UPDATE {conflicts} SET conflicts = conflicts + 1, seen_at = {now},
  held = CASE WHEN {age} > held THEN {age} ELSE held END,
  latest = substr({told}, 1, {LONGEST})
WHERE digest = :digest AND seen_at > {now} - {WEEK}
"""
_WAITED = "UPDATE {conflicts} SET waited = waited + :waited WHERE digest = :digest"
_PURGE = "DELETE FROM {conflicts} WHERE seen_at <= {now} - {WEEK}"
_FORGET = f"{_PURGE} AND prefix = :prefix"
_FEWEST = """
SELECT digest, conflicts, (SELECT count(*) FROM {conflicts} WHERE prefix = :prefix) FROM {conflicts}
WHERE prefix = :prefix ORDER BY conflicts LIMIT 10
"""
_GO = "DELETE FROM {conflicts} WHERE digest = :digest AND conflicts = :conflicts"
_MOST = """
SELECT prefix, name, conflicts, waited, held FROM {conflicts}
WHERE prefix = :prefix AND seen_at > {now} - {WEEK} ORDER BY conflicts DESC, digest LIMIT :most
"""
_LATEST = "SELECT latest FROM {conflicts} WHERE digest = :digest AND seen_at > {now} - {WEEK}"


class _Steps:
    """The statements for one table."""

    def __init__(self, statements: Statements) -> None:
        parts = {"told": statements.tongue.told, "age": _AGE, "WEEK": str(WEEK), "LONGEST": str(_LONGEST)}

        def made(words: str) -> Statement:
            for name, part in parts.items():
                words = words.replace(f"{{{name}}}", part)
            return statements.made(words)

        self.count, self.begin, self.waited = made(_COUNT), made(statements.tongue.begin), made(_WAITED)
        self.forget, self.fewest, self.go = made(_FORGET), made(_FEWEST), made(_GO)
        self.purge = made(_PURGE)
        self.most, self.latest = made(_MOST), made(_LATEST)


class ConflictsInTable(Remembers, abc.ABC):
    """The part of an `SqlStore` that remembers conflicts."""

    prefix: str
    clock: Callable[[], float]
    _prefix: str
    _database: Database
    #: Who was refused here and may come again, and when that was first.
    _refusals: dict[tuple[str, str], float]
    _silent_until = -math.inf
    _pause = _PAUSE
    _conflict_steps: _Steps | None = None

    def most_contended(self, most: int = 20) -> list[Tally]:
        found = self._database.ask(self._told.most, {"prefix": self._prefix, "most": most}).rows
        return [
            Tally(read(name), conflicts, waited / MICRO, held / MICRO)
            for prefix, name, conflicts, waited, held in found
            # A database may find texts alike that are not.
            if prefix == self._prefix
        ]

    def conflicts(self, key: str) -> list[Conflict]:
        named = {"digest": digest(self.prefix, require_name(key))}
        found = self._database.ask(self._told.latest, named).rows
        # What was cut off at the end is no whole line.
        lines = found[0][0].split("\n")[:-1][:LATEST] if found else []
        return [_conflict(line) for line in lines]

    def _noted(self, claim: Claim, answer: Lease | Busy) -> Lease | Busy:
        """The answer. Remember that somebody was refused, and for how long one had waited that has the key now."""
        who = claim.key, claim.owner
        if isinstance(answer, Lease):
            first = self._refusals.pop(who, None)
            if first is not None:
                self._try(self._add_wait, claim, self.clock() - first)
        # It may merely have come too late.
        elif answer.holder is not None and who not in self._refusals:
            if len(self._refusals) >= _ASKERS:
                # Another thread may come in between: the names are copied in one step.
                first_of_all, *_ = self._refusals
                self._refusals.pop(first_of_all, None)
            self._refusals[who] = self.clock()
            self._try(self._add_conflict, claim, answer.holder)
        return answer

    def _try(self, write: Callable[..., None], *arguments: object) -> None:
        if self.clock() < self._silent_until:
            return
        try:
            write(*arguments)
        except StoreUnavailable as error:
            self._fall_silent(error)
        else:
            self._pause = _PAUSE

    def _fall_silent(self, error: StoreUnavailable) -> None:
        if self.clock() < self._silent_until:
            # Another thread has met the same just now.
            return
        if self._silent_until == -math.inf:
            # Once in each process: no lock needs it.
            logger.info("conflicts are not remembered, which is tried again later: %s", error.message)
        self._silent_until = self.clock() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _purge_conflicts(self) -> int:
        """Take away what is not remembered any more, whatever its prefix; nothing where the table cannot be asked."""
        with contextlib.suppress(StoreUnavailable):
            return self._database.ask(self._told.purge, {}).changed
        return 0

    def _add_wait(self, claim: Claim, seconds: float) -> None:
        named = {"digest": digest(self.prefix, claim.key), "waited": round(seconds * MICRO)}
        self._database.ask(self._told.waited, named)

    def _add_conflict(self, claim: Claim, holds: str) -> None:
        row = digest(self.prefix, claim.key)
        named = {"digest": row, "said": f" {json.dumps([claim.owner, holds])}\n"}
        if not self._database.ask(self._told.count, named).changed:
            self._begin(claim.key, row)
            self._database.ask(self._told.count, named)

    def _begin(self, key: str, row: str) -> None:
        """Make a row for a key that is not remembered; the one with the fewest makes room, and leaves its number."""
        prefix = {"prefix": self._prefix}
        self._database.ask(self._told.forget, prefix)
        fewest = self._database.ask(self._told.fewest, prefix).rows
        too_many = fewest[0][2] - MOST_CONTENDED + 1 if fewest else 0
        number = fewest[0][1] if too_many > 0 else 0
        # In this order: whoever came in between would find room, and begin with nothing.
        self._database.ask(self._told.begin, {**prefix, "digest": row, "name": written(key), "conflicts": number})
        for name, conflicts, _ in fewest[: max(0, too_many)]:
            self._database.ask(self._told.go, {"digest": name, "conflicts": conflicts})

    @property
    def _told(self) -> _Steps:
        if self._conflict_steps is None:
            self._conflict_steps = _Steps(self._database.statements)
        return self._conflict_steps


def _conflict(line: str) -> Conflict:
    when, age, said = line.split(" ", 2)
    asker, holds = json.loads(said)
    return Conflict(int(when) / MICRO, asker, holds, max(0, int(age)) / MICRO if age else None)
