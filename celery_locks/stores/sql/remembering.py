"""Notes in a table: rows of another prefix than that of the locks."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from celery_locks.lease import Claim
from celery_locks.stores.notes import Notes
from celery_locks.stores.sql.table import digest, written

if TYPE_CHECKING:
    from celery_locks.lease import Busy, Lease

#: A note has no holder. Noted again it is the same one's, and lasts anew.
_NOBODY = "note"


class SqlNotes(Notes, abc.ABC):
    """The part of the store that keeps notes. The row of one stays for a while, as that of a lock."""

    prefix: str

    def note(self, name: str, seconds: float) -> None:
        claim = Claim(name, _NOBODY, seconds)
        row = {**self._row(claim), **self._digest(name), "prefix": written(f"{self.prefix}note:")}
        # None: it came too late, as an acquire may. By now the clock is read again.
        if self._acquired(claim, row) is None:
            self._acquired(claim, row)

    def is_noted(self, name: str) -> bool:
        return self._look(self._digest(name))[1] is not None

    def _digest(self, name: str) -> dict[str, str]:
        return {"digest": digest(f"{self.prefix}note:", name)}

    @abc.abstractmethod
    def _row(self, claim: Claim) -> dict[str, Any]: ...

    @abc.abstractmethod
    def _acquired(self, claim: Claim, row: dict[str, Any]) -> Lease | Busy | None: ...

    @abc.abstractmethod
    def _look(self, row: dict[str, Any]) -> Any: ...
