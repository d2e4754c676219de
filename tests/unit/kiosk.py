"""A store that always holds the same locks, for what is shown of them; what is released from it is gone."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Holding
from celery_locks.stores import Inspects, Store
from celery_locks.stores.operations import Conflict, Evicts, Queues, Remembers, Tally, Waiter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The moment at which it is looked at, in seconds since 1970: 2026-11-21 21:02:30 UTC.
NOW = 1795294950.0
SYNC = "bank.sync[1f0e8c1a-52f7-4d0c-8b83-0a2a2f4f5f0d]@web2:311#91d3c8a11f0b7e52"
#: Key, age, ttl, owner, how many wait, conflicts.
_LOCKS = (
    ("wallet:42", 72.4, 28.3, "bank.withdraw[6b1cf0c2-3d6e-4c0a-9f1e-2f6a3f0f8f11]@web1:4711#c514eb5ca4c80aa4", 3, 41),
    ("wallet:7", 3.1, 26.9, "bank.withdraw[0f3c6ad1-0c6c-4b7e-8d3b-5a4f5b7b7c1e]@web1:4712#03aa5cc1f0b9d772", 1, 6),
    (
        "report:2026-11",
        3725.0,
        41.0,
        "bank.report[77ab2c1e-9a3c-4a7c-b5a4-0de2b6a0c9d3]@web2:309#5be2a09c44d1f833",
        0,
        2,
    ),
    ("tenant:acme", 11.8, 22.0, SYNC, 12, 212),
    ("import:daily", 244.0, 19.4, "lock@cron1:120#d1e07c6a5b9f4e21", 0, 0),
)


class Kiosk(Store, Inspects, Queues, Remembers, Evicts):
    """It has no verbs for locks."""

    fence_is_time = True

    def __init__(self) -> None:
        super().__init__()
        self.locks = {key: facts for key, *facts in _LOCKS}
        self.is_down = False

    def inspect(self, key: str) -> Holding | None:
        self._answer()
        return self._holding(key) if key in self.locks else None

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        self._answer()
        return (self._holding(key) for key in list(self.locks) if fnmatchcase(key, pattern))

    def force_release(self, key: str) -> bool:
        return self.locks.pop(key, None) is not None

    def evict(self, key: str, fence: int) -> bool:
        self._answer()
        holding = self.inspect(key)
        return holding is not None and holding.fence == fence and self.force_release(key)

    def waiting(self, keys: Sequence[str]) -> list[int]:
        return [self.locks[key][3] if key in self.locks else 0 for key in keys]

    def line(self, key: str, most: int = 100) -> list[Waiter]:
        count = self.locks[key][3] if key in self.locks else 0
        return [Waiter(f"66148c16fd45c26{at}", "queue", NOW - 10 + at) for at in range(min(count, most))]

    def most_contended(self, most: int = 20) -> list[Tally]:
        self._answer()
        return [Tally(key, facts[4], 0.0, 0.0) for key, facts in self.locks.items() if facts[4]][:most]

    def conflicts(self, key: str) -> list[Conflict]:
        return [Conflict(NOW - 4.0, SYNC, self.locks[key][2], 2.0)] if key in self.locks else []

    def acquire(self, claim):
        raise NotImplementedError

    renew = release = acquire

    def _holding(self, key: str) -> Holding:
        age, ttl, owner, *_ = self.locks[key]
        return Holding(key, owner, int((NOW - age) * 1e6), ttl)

    def _answer(self) -> None:
        if self.is_down:
            raise StoreUnavailable("the kiosk is shut: open it")
