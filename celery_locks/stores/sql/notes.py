"""What is said of a key beside who has it: how many may, and that somebody waits for it alone. A row each."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease
from celery_locks.stores.base import Crowds
from celery_locks.stores.naming import require_name
from celery_locks.stores.sql.statements import HOUR
from celery_locks.stores.sql.swaps import Swaps
from celery_locks.stores.sql.table import about, written
from celery_locks.stores.sql.window import NEVER, micro

if TYPE_CHECKING:
    from celery_locks.lease import Claim
    from celery_locks.stores.sql.database import Database

#: One that waits for a key alone is let in before others share it, if it asks again within so many seconds.
ASKS_AGAIN = 1.0
#: So many of such waits, and of others' leases, are remembered: one that is forgotten costs a request more, or lapses.
_REMEMBERED = 1000


class NotesInTable(Crowds):
    """The part of an `SqlStore` that asks and says this."""

    prefix: str
    _database: Database
    _swaps_made: Swaps | None = None
    #: Who waits here for which key alone, as far as that was said in the database.
    _wants: set[tuple[str, str]]

    def slots(self, key: str) -> int | None:
        named = {"digest": about("slots", self.prefix, require_name(key)), "never": NEVER}
        rows = self._database.ask(self._swaps.slots, named).rows
        return rows[0][0] if rows else None

    def set_slots(self, key: str, slots: int | None) -> None:
        named = self._about("slots", key)
        if slots is None:
            self._database.ask(self._swaps.unset_slots, named)
            return
        given = {**named, "number": slots, "never": NEVER, "never_hour": NEVER // HOUR}
        while not self._database.ask(self._swaps.give_slots, given).changed:
            self._database.ask(self._swaps.ensure, named)

    def _want(self, claim: Claim, holds: str) -> None:
        named = {**self._about("wanted", claim.key), "holder": holds, "ttl": micro(ASKS_AGAIN)}
        if not self._database.ask(self._swaps.want, named).changed:
            self._database.ask(self._swaps.ensure, named)
            self._database.ask(self._swaps.want, named)
        remember(self._wants, (claim.key, holds))

    def _want_no_more(self, claim: Claim, answer: Lease | Busy, holds: str) -> None:
        """Those that share the key need not wait until its mark lapses."""
        if isinstance(answer, Lease) and (claim.key, holds) in self._wants:
            self._wants.discard((claim.key, holds))
            with contextlib.suppress(StoreUnavailable):
                named = {"digest": about("wanted", self.prefix, claim.key), "holder": holds}
                self._database.ask(self._swaps.have, named)

    def _about(self, kind: str, key: str) -> dict[str, Any]:
        """A row that says something about a key. Its prefix is no lock's."""
        name = written(require_name(key))
        return {"digest": about(kind, self.prefix, key), "prefix": f"\\{kind}", "name": name}

    @property
    def _swaps(self) -> Swaps:
        if self._swaps_made is None:
            self._swaps_made = Swaps(self._database.statements)
        return self._swaps_made


def remember(known: set[tuple[str, str]], one: tuple[str, str]) -> None:
    """Note one of those of which not too many are known."""
    if len(known) >= _REMEMBERED:
        known.clear()
    known.add(one)
