"""Locks inside one process: for tests, and for threads that share a process."""

from __future__ import annotations

import fnmatch
import os
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery_locks.errors import LockConfigError
from celery_locks.lease import Busy, Holding, Lease, Verdict
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store, require_name
from celery_locks.stores.url import hidden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.lease import Claim


#: Prefix and key, side by side: joined, "a:" with "b:c" and "a:b:" with "c" would be one.
_Name = tuple[str, str]

_spaces: weakref.WeakSet[_Space] = weakref.WeakSet()
_named: dict[str, _Space] = {}


def _empty_in_child() -> None:
    """A fork copies locks in whatever state they were, a mutex held by another thread among them."""
    for space in _spaces:
        space.empty()


os.register_at_fork(after_in_child=_empty_in_child)


@dataclass
class _Taken:
    owner: str
    fence: int
    until: float


class _Space:
    """The locks of one process under one name. Fences come from one counter, so that no key costs memory for ever."""

    def __init__(self) -> None:
        self.fence = time.time_ns() // 1000
        self.empty()
        _spaces.add(self)

    def empty(self) -> None:
        self.mutex = threading.Lock()
        self.taken: dict[_Name, _Taken] = {}
        self.sweep_at = 1024

    def put(self, name: _Name, taken: _Taken, now: float) -> None:
        """Keep a lock. Those of holders that died unheard are swept out when the room has doubled."""
        self.taken[name] = taken
        if len(self.taken) >= self.sweep_at:
            self.taken = {name: each for name, each in self.taken.items() if each.until > now}
            self.sweep_at = max(1024, 2 * len(self.taken))


class MemoryStore(Store, Inspects):
    """A full store over a dictionary.

    Promises exclusion between the threads of one process and nothing else: a forked process has a copy of its own.
    """

    in_process = True
    counts_as_one = True

    def __init__(
        self, *, prefix: str = DEFAULT_PREFIX, clock: Callable[[], float] = time.monotonic, space: _Space | None = None
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._space = space or _Space()

    def acquire(self, claim: Claim) -> Lease | Busy:
        name, now = self._name(require_name(claim.key)), self.clock()
        with self._space.mutex:
            taken = self._alive(name)
            if taken and taken.owner != claim.owner:
                return Busy(taken.owner, taken.until - now)
            if not taken:
                self._space.fence += 1
                taken = _Taken(claim.owner, self._space.fence, now + claim.ttl)
                self._space.put(name, taken, now)
            taken.until = now + claim.ttl
        return Lease(claim, taken.fence, now + claim.ttl, self.clock)

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        with self._space.mutex:
            return [self._renew(lease) for lease in leases]

    def release(self, claim: Claim) -> bool:
        name = self._name(claim.key)
        with self._space.mutex:
            taken = self._alive(name)
            if not taken or taken.owner != claim.owner:
                return False
            del self._space.taken[name]
            return True

    def inspect(self, key: str) -> Holding | None:
        with self._space.mutex:
            taken = self._alive(self._name(key))
            return self._holding(key, taken) if taken else None

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        with self._space.mutex:
            keys = [key for prefix, key in self._space.taken if prefix == self.prefix]
        for key in sorted(fnmatch.filter(keys, pattern)):
            if holding := self.inspect(key):
                yield holding

    def force_release(self, key: str) -> bool:
        with self._space.mutex:
            alive = self._alive(self._name(key))
            self._space.taken.pop(self._name(key), None)
            return alive is not None

    def _name(self, key: str) -> _Name:
        return self.prefix, key

    def _alive(self, name: _Name) -> _Taken | None:
        taken = self._space.taken.get(name)
        if taken and taken.until <= self.clock():
            del self._space.taken[name]
            return None
        return taken

    def _renew(self, lease: Lease) -> Verdict:
        taken = self._alive(self._name(lease.key))
        if not taken or taken.owner != lease.owner:
            return Verdict.LOST
        taken.until = self.clock() + lease.ttl
        return Verdict.RENEWED

    def _holding(self, key: str, taken: _Taken) -> Holding:
        return Holding(key, taken.owner, taken.fence, taken.until - self.clock())


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: object) -> MemoryStore:
    """`memory://` or `memory://name`: the same name is the same locks, everywhere in this process."""
    name = url.partition("://")[2]
    if "?" in name or options:
        raise LockConfigError(f"{hidden(url)}: memory:// takes no options; write memory:// or memory://name")
    return MemoryStore(prefix=prefix, space=_named.setdefault(name, _Space()))
