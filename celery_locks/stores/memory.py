"""Locks inside one process: for tests, and for threads that share a process."""

from __future__ import annotations

import fnmatch
import time
from typing import TYPE_CHECKING

from celery_locks.errors import LockConfigError
from celery_locks.lease import Holding, Lease, Verdict
from celery_locks.stores.base import DEFAULT_PREFIX, Crowds, Inspects, Store
from celery_locks.stores.naming import require_name
from celery_locks.stores.notes import Notes
from celery_locks.stores.positions import Positions
from celery_locks.stores.space import Holders, Name, Space, Taken, Written, busy, handed_over
from celery_locks.stores.url import hidden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from celery_locks.lease import Busy, Claim


_named: dict[str, Space] = {}


class MemoryStore(Store, Inspects, Crowds, Notes, Positions):
    """A full store over a dictionary.

    Promises exclusion between the threads of one process and nothing else: a forked process has a copy of its own.
    """

    in_process = True
    counts_as_one = True
    hands_over = True

    def __init__(
        self, *, prefix: str = DEFAULT_PREFIX, clock: Callable[[], float] = time.monotonic, space: Space | None = None
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._space = space or Space()

    def acquire(self, claim: Claim) -> Lease | Busy:
        name, now = self._name(require_name(claim.key)), self.clock()
        with self._space.mutex:
            holders = self._space.alive(name, now)
            taken = holders.get(claim.owner) or handed_over(holders, claim)
            if not taken:
                if not self._space.admits(name, claim, now):
                    return busy(holders, now)
                self._space.fence += 1
                taken = Taken(claim.owner, self._space.fence, now + claim.ttl, claim.slots, claim.shared)
                self._space.put(name, taken, now)
            taken.until = now + claim.ttl
        return Lease(claim, taken.fence, now + claim.ttl, self.clock)

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        with self._space.mutex:
            return [self._renew(lease) for lease in leases]

    def release(self, claim: Claim) -> bool:
        name = self._name(claim.key)
        with self._space.mutex:
            holders = self._alive(name)
            if name in self._space.awaited and self._space.awaited[name].owner == claim.owner:
                del self._space.awaited[name]
            if claim.owner not in holders:
                return False
            # One step, that no interrupt can come after without the answer.
            if holders.keys() == {claim.owner}:
                del self._space.taken[name]
            else:
                del holders[claim.owner]
            return True

    def inspect(self, key: str) -> Holding | None:
        return next(iter(self.holders(key)), None)

    def holders(self, key: str) -> list[Holding]:
        with self._space.mutex:
            return [self._holding(key, each) for each in self._alive(self._name(key)).values()]

    def slots(self, key: str) -> int | None:
        with self._space.mutex:
            return self._space.slots.get(self._name(key))

    def set_slots(self, key: str, slots: int | None) -> None:
        with self._space.mutex:
            if slots is None:
                self._space.slots.pop(self._name(key), None)
            else:
                self._space.slots[self._name(key)] = slots

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        with self._space.mutex:
            keys = [key for prefix, key in self._space.taken if prefix == self.prefix]
        for key in sorted(fnmatch.filter(keys, pattern)):
            yield from self.holders(key)

    def force_release(self, key: str) -> bool:
        with self._space.mutex:
            alive = self._alive(self._name(key))
            self._space.taken.pop(self._name(key), None)
            return bool(alive)

    def note(self, name: str, seconds: float) -> None:
        now = self.clock()
        with self._space.mutex:
            self._space.put(self._note(name), Taken("", 0, now + seconds, slots=1, shared=False), now)

    def is_noted(self, name: str) -> bool:
        with self._space.mutex:
            return bool(self._space.alive(self._note(name), self.clock()))

    def take_up(self, schedule: str, fence: int) -> dict[str, str] | None:
        with self._space.mutex:
            written = self._space.written.setdefault(self._name(schedule), Written())
            if fence < written.at[0]:
                return None
            written.at = max(written.at, (fence, 0))
            return {**written.texts}

    def put(self, schedule: str, fence: int, number: int, texts: Mapping[str, str | None]) -> bool:
        with self._space.mutex:
            written = self._space.written.setdefault(self._name(schedule), Written())
            if (fence, number) < written.at:
                return False
            written.at = (fence, number)
            both = {**written.texts, **texts}
            written.texts = {name: text for name, text in both.items() if text is not None}
            return True

    def _note(self, name: str) -> Name:
        return f"{self.prefix}note:", name

    def _name(self, key: str) -> Name:
        return self.prefix, key

    def _alive(self, name: Name) -> Holders:
        return self._space.alive(name, self.clock())

    def _renew(self, lease: Lease) -> Verdict:
        taken = self._alive(self._name(lease.key)).get(lease.owner)
        if not taken:
            return Verdict.LOST
        taken.until = self.clock() + lease.ttl
        return Verdict.RENEWED

    def _holding(self, key: str, taken: Taken) -> Holding:
        return Holding(key, taken.owner, taken.fence, taken.until - self.clock())


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: object) -> MemoryStore:
    """`memory://` or `memory://name`: the same name is the same locks, everywhere in this process."""
    name = url.partition("://")[2]
    if "?" in name or options:
        raise LockConfigError(f"{hidden(url)}: memory:// takes no options; write memory:// or memory://name")
    return MemoryStore(prefix=prefix, space=_named.setdefault(name, Space()))
