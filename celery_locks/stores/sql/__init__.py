"""Locks in a table of an SQL database: PostgreSQL, MariaDB, MySQL or SQLite. The database's clock ends a lease."""

from __future__ import annotations

import contextlib
import fnmatch
import math
import time
from typing import TYPE_CHECKING, Any

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store
from celery_locks.stores.members import is_alone
from celery_locks.stores.naming import require_name
from celery_locks.stores.operations import Clocked, Evicts, Tables
from celery_locks.stores.sql.address import parse
from celery_locks.stores.sql.conflicts import ConflictsInTable
from celery_locks.stores.sql.crowd import CrowdInTable
from celery_locks.stores.sql.database import Database
from celery_locks.stores.sql.positions import SqlPositions
from celery_locks.stores.sql.reading import holdings
from celery_locks.stores.sql.remembering import SqlNotes
from celery_locks.stores.sql.renewal import RenewalInTable
from celery_locks.stores.sql.table import digest, holder, read, written
from celery_locks.stores.sql.window import MICRO, NEVER, Reading, micro
from celery_locks.stores.sql.wire import Unreached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.stores.sql.address import Address
    from celery_locks.stores.sql.statements import Statement

SHOWN_AT_ONCE = 500
PURGED_AT_ONCE = 100
#: Seconds between two looks for rows whose time is over, in each process.
PURGE_EVERY = 60.0


class SqlStore(
    SqlNotes,
    SqlPositions,
    Store,
    ConflictsInTable,
    CrowdInTable,
    RenewalInTable,
    Inspects,
    Evicts,
    Tables,
    Clocked,
):
    """One row a key, that stays when the key is released and remembers the last fence and who is done with the key.

    Exclusion holds while the database keeps what it has committed. A failover to a replica that had not heard of the
    lock may let a second holder in: the fence is what tells them apart.
    """

    fence_is_time = True
    hands_over = True

    def __init__(
        self,
        address: Address,
        options: dict[str, Any],
        *,
        prefix: str = DEFAULT_PREFIX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._database = Database(address, options)
        self.folder = address.folder
        self._prefix = written(prefix)
        self._patience = address.timeout
        self._retention = int(address.retention * MICRO)
        self._reading: Reading | None = None
        self._purge_at = -math.inf
        self._wants, self._known, self._refusals = set(), set(), {}

    def __repr__(self) -> str:
        return f"<SqlStore {self._database.name}>"

    def acquire(self, claim: Claim) -> Lease | Busy:
        if claim.shared or claim.slots > 1:
            return self._enter(claim)
        row = self._row(claim)
        try:
            # Refused as too late: the database's clock was set, or we slept. By now it is read again.
            answer = self._acquired(claim, row) or self._acquired(claim, row) or Busy()
            if self._refusals or isinstance(answer, Busy):
                self._noted(claim, answer)
        except BaseException as error:
            # Whatever struck between request and answer, an interrupt too: what may have been taken is given back.
            if not (claim.in_common or isinstance(error.__cause__, Unreached)):
                self._give_up(row)
            raise
        if self._wants:
            self._want_no_more(claim, answer, row["holder"])
        return answer

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        alone = [lease for lease in leases if not self._shares(lease)]
        said = dict(zip(map(id, alone), self._renew_alone(alone), strict=True))
        # Not every claim says that its key is held together with others.
        if others := [lease for lease in leases if said.get(id(lease)) is not Verdict.RENEWED]:
            said |= zip(map(id, others), self._renew_together(others), strict=True)
        return [said[id(lease)] for lease in leases]

    def release(self, claim: Claim) -> bool:
        if is_alone(claim):
            released = self._done(self._database.statements.release, claim) or self._leave(claim, done=True)
        else:
            released = self._leave(claim, done=True) or self._done(self._database.statements.release, claim)
        if self.clock() >= self._purge_at:
            self._purge()
        return released

    def level(self, claim: Claim, fence: int) -> bool:
        if not is_alone(claim):
            return False
        digests = {f"digest_{number}": digest(self.prefix, key) for number, key in enumerate(claim.keys)}
        named = {**digests, "holder": holder(claim.owner), "fence": fence}
        answer = self._database.ask(self._database.statements.level(len(digests)), named)
        return answer.changed == len(digests)

    def undo(self, claim: Claim) -> None:
        if not self._done(self._database.statements.undo, claim):
            self._leave(claim)

    def inspect(self, key: str) -> Holding | None:
        return next(iter(self.holders(key)), None)

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        named = {"prefix": self._prefix, "after": "", "page": SHOWN_AT_ONCE}
        while page := self._database.ask(self._database.statements.list, named).rows:
            for named["after"], prefix, name, *who in page:
                # A database may find texts alike that are not: those that differ in spaces at the end.
                if prefix == named["prefix"] and fnmatch.fnmatchcase(read(name), pattern):
                    yield from holdings(read(name), *who)

    def force_release(self, key: str) -> bool:
        return bool(self._database.ask(self._database.statements.force_release, self._named(key)).changed)

    def evict(self, key: str, fence: int) -> bool:
        named = {**self._named(key), "fence": fence}
        return bool(self._database.ask(self._database.statements.evict, named).changed) or self._put_out(key, fence)

    def create_table(self) -> None:
        """Make the table where it is missing. The first verb does it too, if its user may create tables."""
        self._database.create_table()

    def ddl(self) -> str:
        """The statements that make the table, for whoever makes it by hand."""
        return self._database.ddl()

    def purge(self) -> int:
        removed, page = 0, PURGED_AT_ONCE
        while page >= PURGED_AT_ONCE:
            page = self._purged()
            removed += page
        return removed + self._purge_conflicts()

    def time(self) -> float:
        now: int = self._look({"digest": ""})[0]
        return now / MICRO

    def close(self) -> None:
        self._database.close()

    def _done(self, statement: Statement, claim: Claim) -> bool:
        row = {"digest": digest(self.prefix, claim.key), "holder": holder(claim.owner)}
        return bool(self._database.ask(statement, row).changed)

    def _acquired(self, claim: Claim, row: dict[str, Any]) -> Lease | Busy | None:
        before = self.clock()
        row["latest"] = self._latest(before)
        if claim.after:
            # When it was that one's, it is ours now, and asked for again.
            self._database.ask(self._database.statements.hand_over, {**row, "after": holder(claim.after)})
        answer = self._database.ask(self._database.statements.acquire, row)
        fence, *seen = answer.rows[0] if answer.rows else (answer.number,)
        if fence:
            return Lease(claim, fence, before + claim.ttl, self.clock)
        if not seen:
            seen = self._look(row)
            self._read(seen[0])
            if seen[0] > row["latest"]:
                return None
        return self._refused(claim, row, seen)

    def _look(self, row: dict[str, Any]) -> Any:
        return self._database.ask(self._database.statements.look, row).rows[0]

    def _read(self, now: int) -> Reading:
        self._reading = Reading(now, self.clock())
        return self._reading

    def _latest(self, now: float) -> int:
        if not self._database.is_remote:
            return NEVER
        reading = self._reading
        if reading is None or not reading.is_fresh(now):
            reading = self._read(self._look({"digest": ""})[0])
        return reading.latest(self.clock(), self._patience)

    def _give_up(self, row: dict[str, Any]) -> bool:
        """Undo a request that may have arrived without an answer, and refuse it should it arrive late."""
        with contextlib.suppress(StoreUnavailable):
            self._database.ask(self._database.statements.give_up, row)
            return True
        return False

    def _purge(self) -> None:
        """Take away a few rows that nobody used for long; soon again when there were more."""
        with contextlib.suppress(StoreUnavailable):
            self._purge_at = self.clock() + PURGE_EVERY
            if self._purged() >= PURGED_AT_ONCE:
                self._purge_at = self.clock()

    def _purged(self) -> int:
        named = {"retention": self._retention, "page": PURGED_AT_ONCE}
        return self._database.ask(self._database.statements.purge, named).changed

    def _row(self, claim: Claim) -> dict[str, Any]:
        # One dict, made once: beside SQLite, which answers within microseconds, each step here is seen.
        holds = holder(claim.owner)
        return {
            "digest": digest(self.prefix, require_name(claim.key)),
            "prefix": self._prefix,
            "name": written(claim.key),
            "owner": written(claim.owner),
            "holder": holds,
            "ttl": micro(claim.ttl),
            **_marked(holds),
        }

    def _named(self, key: str) -> dict[str, Any]:
        return {"digest": digest(self.prefix, require_name(key))}


def _marked(holds: str) -> dict[str, str]:
    """What a row's list of those that are done with it is searched for."""
    return {"marked": f"%{holds}%"}


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> SqlStore:
    """A store for sql+ and the URL of a database as SQLAlchemy writes it. The options are those of its engines."""
    return SqlStore(parse(url), options, prefix=prefix)
