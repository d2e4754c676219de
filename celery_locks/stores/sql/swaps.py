"""The statements about keys that several hold. Who they are is one text in the key's own row, in the owner's place.

What was read is written back changed only while the row's fence and holder are still what they were: whoever changes
who holds a key raises its fence, or makes it free. So nobody decides by what is no longer so, and each statement stands
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_locks.stores.sql.statements import Statement, Statements

_READ = """
SELECT {now}, held.digest, held.owner, held.holder, held.fence, held.expires_at,
  CASE WHEN held.done LIKE :marked THEN 1 ELSE 0 END
FROM (SELECT 1 AS one) AS one LEFT JOIN {table} AS held ON held.digest IN (:digest, :slots, :wanted)
"""
_SWAP = """
UPDATE {table} SET owner = :owner, holder = :holder, fence = :fence, expires_at = :until, expires_hour = :hour,
  done = substr({noted}, 1, {longest})
WHERE digest = :digest AND fence = :seen AND COALESCE(holder, '') = :was AND {now} <= :latest AND done NOT LIKE :marked
"""
_FIND = """
SELECT {now}, held.digest, held.owner, held.fence
FROM (SELECT 1 AS one) AS one
LEFT JOIN {table} AS held ON held.digest IN (%s) AND held.holder = '{SEVERAL}' AND held.expires_at > {now}
"""
_GIVE_SLOTS = """
UPDATE {table} SET fence = :number, expires_at = :never, expires_hour = :never_hour WHERE digest = :digest
"""
_SLOTS = "SELECT fence FROM {table} WHERE digest = :digest AND expires_at = :never"
_UNSET = "DELETE FROM {table} WHERE digest = :digest"
_WANT = """
UPDATE {table} SET holder = :holder, expires_at = {now} + :ttl, expires_hour = {hour} WHERE digest = :digest
"""
_HAVE = "UPDATE {table} SET holder = NULL, expires_at = {now} WHERE digest = :digest AND holder = :holder"


class Swaps:
    """Those for one table."""

    def __init__(self, statements: Statements) -> None:
        made = statements.made
        self._statements = statements
        self.read = made(_READ)
        self.ensure = made(statements.tongue.ensure)
        self.swap = made(_SWAP)
        self.slots = made(_SLOTS)
        self.give_slots = made(_GIVE_SLOTS)
        self.unset_slots = made(_UNSET)
        self.want = made(_WANT)
        self.have = made(_HAVE)
        self._sizes: dict[int, tuple[Statement, Statement]] = {}

    def renewal(self, count: int) -> tuple[Statement, Statement]:
        """The statement that finds who has so many keys together, and the one that writes as many back."""
        if count not in self._sizes:
            names = ", ".join(f":digest_{number}" for number in range(count))
            find, write = _FIND.replace("%s", names), self._statements.tongue.swap_all(count)
            self._sizes[count] = self._statements.made(find), self._statements.made(write)
        return self._sizes[count]
