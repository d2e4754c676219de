"""Renews the leases of those that hold their keys alone: hundreds by one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.lease import Lease, Verdict
from celery_locks.stores.sql.table import digest, holder
from celery_locks.stores.sql.window import micro

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.stores.sql.database import Database

RENEWED_AT_ONCE = 500


class RenewalInTable:
    """The part of an `SqlStore` that does it."""

    prefix: str
    _database: Database

    def _renew_alone(self, leases: Sequence[Lease]) -> Sequence[Verdict]:
        asked = [(digest(self.prefix, lease.key), holder(lease.owner), micro(lease.ttl)) for lease in leases]
        renewed: set[tuple[str, str]] = set()
        # In order, so that two that renew the same rows do not wait for each other in a circle.
        ordered = sorted(set(asked))
        for start in range(0, len(ordered), RENEWED_AT_ONCE):
            renewed |= self._renewed(ordered[start : start + RENEWED_AT_ONCE])
        return [Verdict.RENEWED if each[:2] in renewed else Verdict.LOST for each in asked]

    def _renewed(self, asked: Sequence[tuple[str, str, int]]) -> set[tuple[str, str]]:
        named = {
            f"{name}_{number}": value
            for number, each in enumerate(asked)
            for name, value in zip(("digest", "holder", "ttl"), each, strict=True)
        }
        said = self._database.statements
        answer = self._database.ask(said.renew(len(asked)), named)
        if answer.changed == len(asked):
            return {each[:2] for each in asked}
        if still := said.renewed(len(asked)):
            answer = self._database.ask(still, named)
        return {(name, owner) for name, owner in answer.rows}
