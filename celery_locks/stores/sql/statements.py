"""The statements, one a verb. What all databases say alike is here; each has a module for what it says its own way.

All times are microseconds since 1970, read by the database at the moment it judges a row, after any wait for it.
A statement stands alone: it is a transaction of its own, and may be repeated.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from celery_locks.stores.sql.table import OWNER_DIGITS, REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import Dialect

HOUR = 3_600_000_000
#: The holder of a key that several have. No owner's digest reads like it.
SEVERAL = "several"

LOOK = """
SELECT {now}, held.owner, held.fence, held.expires_at
FROM (SELECT 1 AS one) AS one
LEFT JOIN {table} AS held ON held.digest = :digest AND held.holder IS NOT NULL AND held.expires_at > {now}
"""
# The hour stays: what is indexed is left alone, and a row may be purged later than it could be.
RELEASE = """
UPDATE {table}
SET done = substr({joined}, 1, {longest}), owner = NULL, holder = NULL, expires_at = {now}
WHERE digest = :digest AND holder = :holder AND expires_at > {now}
"""
LEVEL = """
UPDATE {table} SET fence = CASE WHEN fence > :fence THEN fence ELSE :fence END
WHERE digest IN ({digests}) AND holder = :holder AND expires_at > {now}
"""
# As late as any other request for the key it takes nothing.
HAND_OVER = """
UPDATE {table} SET owner = :owner, holder = :holder, expires_at = {now} + :ttl, expires_hour = ({now} + :ttl) {hours}
WHERE digest = :digest AND holder = :after AND expires_at > {now} AND {now} <= :latest AND done NOT LIKE :marked
"""
UNDO = """
UPDATE {table} SET owner = NULL, holder = NULL, expires_at = {now}
WHERE digest = :digest AND holder = :holder AND expires_at > {now}
"""
FORCE_RELEASE = """
UPDATE {table} SET owner = NULL, holder = NULL, expires_at = {now}
WHERE digest = :digest AND holder IS NOT NULL AND expires_at > {now}
"""
EVICT = f"{FORCE_RELEASE}AND fence = :fence AND holder <> '{{SEVERAL}}'\n"
LIST = """
SELECT digest, prefix, name, {now}, owner, fence, expires_at
FROM {table}
WHERE prefix = :prefix AND holder IS NOT NULL AND expires_at > {now} AND digest > :after
ORDER BY digest LIMIT :page
"""
# Never a row whose fence the clock has not passed: the next fence of its key would be lower.
OVER = """
expires_hour <= ({stable_now} - :retention) / {HOUR} AND expires_at < {stable_now} - :retention AND fence < {stable_now}
"""


@dataclass(frozen=True)
class Tongue:
    """How one database says what they all say, and the statements that are its own."""

    #: Its clock: read when it is asked for, and as it stood when the statement began.
    now: str
    stable_now: str
    acquire: str
    give_up: str
    purge: str
    #: Given how many are asked for: the statement that renews them.
    renew: Callable[[int], str]
    #: One that makes a key's row, held by nobody, where it is missing.
    ensure: str
    #: Given how many keys: the statement that writes who has them together, each if nobody else did meanwhile.
    swap_all: Callable[[int], str]
    #: And the one that tells which were renewed, where the first cannot.
    renewed: Callable[[int], str] | None = None
    #: One that makes a key's row in the table of conflicts, where it is missing.
    begin: str = """
INSERT INTO {conflicts} (digest, prefix, name, conflicts, waited, held, latest, seen_at)
VALUES (:digest, :prefix, :name, :conflicts, 0, 0, '', {now}) ON CONFLICT (digest) DO NOTHING
"""
    #: The text of the latest conflicts, with one more in front. `{age}`: of the holder.
    told: str = "CAST({now} AS TEXT) || ' ' || COALESCE(CAST({age} AS TEXT), '') || :said || latest"
    joined: str = ":holder || done"
    noted: str = ":noted || done"
    over: str = "/"
    #: What a new connection is told first.
    greeting: tuple[str, ...] = ()


class Statement:
    """A statement as a driver takes it."""

    def __init__(self, words: str, dialect: Dialect) -> None:
        compiled = text(words).compile(dialect=dialect)
        self.words = str(compiled)
        order: list[str] = getattr(compiled, "positiontup", None) or []
        # Of one name alone it would give the value itself.
        self._in_order = operator.itemgetter(*order) if len(order) > 1 else None
        self._alone = order[0] if len(order) == 1 else None

    def arguments(self, named: Mapping[str, Any]) -> Any:
        """Its parameters, by name or in order."""
        if self._in_order is not None:
            return self._in_order(named)
        return named if self._alone is None else (named[self._alone],)


class Statements:
    """The statements for one table of one database, and the one beside it."""

    def __init__(self, tongue: Tongue, table: str, conflicts: str, dialect: Dialect) -> None:
        self.tongue, self._table, self._conflicts, self._dialect = tongue, table, conflicts, dialect
        self.look = self.made(LOOK)
        self.acquire = self.made(tongue.acquire)
        self.release = self.made(RELEASE)
        self.hand_over = self.made(HAND_OVER)
        self.undo = self.made(UNDO)
        self.give_up = self.made(tongue.give_up)
        self.force_release = self.made(FORCE_RELEASE)
        self.evict = self.made(EVICT)
        self.list = self.made(LIST)
        self.purge = self.made(tongue.purge)
        self._renewals: dict[int, Statement] = {}

    def renew(self, count: int) -> Statement:
        """The one that renews so many."""
        if count not in self._renewals:
            self._renewals[count] = self.made(self.tongue.renew(count))
        return self._renewals[count]

    def level(self, count: int) -> Statement:
        """The one that gives so many the same fence."""
        return self.made(LEVEL.replace("{digests}", rows(count, ":digest_{number}", ", ")))

    def renewed(self, count: int) -> Statement | None:
        """The one that tells which of so many were renewed; none where `renew` tells it."""
        return self.made(self.tongue.renewed(count)) if self.tongue.renewed else None

    def made(self, words: str) -> Statement:
        """One for this table."""
        tongue = self.tongue
        hour = f"({tongue.now}) {tongue.over} {HOUR}"
        parts = {
            "table": self._table,
            "conflicts": self._conflicts,
            "now": tongue.now,
            "stable_now": tongue.stable_now,
            "joined": tongue.joined,
            "noted": tongue.noted,
            "hours": f"{tongue.over} {HOUR}",
        }
        over = OVER.format(HOUR=HOUR, **parts).replace("/", tongue.over)
        sizes = {"longest": OWNER_DIGITS * REMEMBERED, "HOUR": HOUR, "SEVERAL": SEVERAL}
        return Statement(words.format(hour=hour, over=over, **parts, **sizes), self._dialect)


def rows(count: int, row: str, between: str) -> str:
    """One row a lease, its parameters numbered."""
    return between.join(row.format(number=number) for number in range(count))
