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
from celery_locks.stores.base import DEFAULT_PREFIX, Crowds, Inspects, Store, require_name
from celery_locks.stores.notes import Notes
from celery_locks.stores.url import hidden
from celery_locks.ticket import Stance

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


#: One that waits where it asks looks again within this time, in seconds.
_ASKS_AGAIN = 0.5


@dataclass
class _Taken:
    owner: str
    fence: int
    until: float
    slots: int
    shared: bool


@dataclass
class _Awaited:
    """One that wants a key alone, and waits where it asked: those who share the key let it in."""

    owner: str
    until: float


#: Those that have a key, by their owners.
_Holders = dict[str, _Taken]


def _is_alone(claim: Claim | _Taken) -> bool:
    return claim.slots == 1 and not claim.shared


def _admits(holders: _Holders, claim: Claim, slots: int | None) -> bool:
    """Whether one more may have it."""
    first = next(iter(holders.values()), None)
    if first is None or _is_alone(first) or _is_alone(claim):
        return first is None
    return claim.shared if first.shared else not claim.shared and len(holders) < (slots or claim.slots)


class _Space:
    """The locks of one process under one name. Fences come from one counter, so that no key costs memory for ever."""

    def __init__(self) -> None:
        self.fence = time.time_ns() // 1000
        self.empty()
        _spaces.add(self)

    def empty(self) -> None:
        self.mutex = threading.Lock()
        self.taken: dict[_Name, _Holders] = {}
        self.awaited: dict[_Name, _Awaited] = {}
        self.slots: dict[_Name, int] = {}
        self.sweep_at = 1024

    def put(self, name: _Name, taken: _Taken, now: float) -> None:
        """Keep a lock. Those of holders that died unheard are swept out when the room has doubled."""
        self.taken.setdefault(name, {})[taken.owner] = taken
        if len(self.taken) >= self.sweep_at:
            for each in list(self.taken):
                self.alive(each, now)
            self.awaited = {name: each for name, each in self.awaited.items() if each.until > now}
            self.sweep_at = max(1024, 2 * len(self.taken))

    def alive(self, name: _Name, now: float) -> _Holders:
        """Those that have it, without those whose time is over."""
        holders = self.taken.get(name)
        if holders is None:
            return {}
        for owner in [owner for owner, each in holders.items() if each.until <= now]:
            del holders[owner]
        if not holders:
            del self.taken[name]
        return holders

    def admits(self, name: _Name, claim: Claim, now: float) -> bool:
        """Whether the claim gets its key. One that wants it alone and waits is not shut out by those who share it."""
        awaited = self.awaited.get(name)
        if awaited and (awaited.until <= now or awaited.owner == claim.owner):
            del self.awaited[name]
            awaited = None
        if _admits(self.alive(name, now), claim, self.slots.get(name)) and (not awaited or _is_alone(claim)):
            return True
        waits = claim.ticket is not None and claim.ticket.stance is not Stance.GOES
        if waits and _is_alone(claim) and not awaited:
            self.awaited[name] = _Awaited(claim.owner, now + _ASKS_AGAIN)
        return False


class MemoryStore(Store, Inspects, Crowds, Notes):
    """A full store over a dictionary.

    Promises exclusion between the threads of one process and nothing else: a forked process has a copy of its own.
    """

    in_process = True
    counts_as_one = True
    hands_over = True

    def __init__(
        self, *, prefix: str = DEFAULT_PREFIX, clock: Callable[[], float] = time.monotonic, space: _Space | None = None
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._space = space or _Space()

    def acquire(self, claim: Claim) -> Lease | Busy:
        name, now = self._name(require_name(claim.key)), self.clock()
        with self._space.mutex:
            holders = self._space.alive(name, now)
            taken = holders.get(claim.owner) or _handed_over(holders, claim)
            if not taken:
                if not self._space.admits(name, claim, now):
                    return _busy(holders, now)
                self._space.fence += 1
                taken = _Taken(claim.owner, self._space.fence, now + claim.ttl, claim.slots, claim.shared)
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
            self._space.put(self._note(name), _Taken("", 0, now + seconds, slots=1, shared=False), now)

    def is_noted(self, name: str) -> bool:
        with self._space.mutex:
            return bool(self._space.alive(self._note(name), self.clock()))

    def _note(self, name: str) -> _Name:
        return f"{self.prefix}note:", name

    def _name(self, key: str) -> _Name:
        return self.prefix, key

    def _alive(self, name: _Name) -> _Holders:
        return self._space.alive(name, self.clock())

    def _renew(self, lease: Lease) -> Verdict:
        taken = self._alive(self._name(lease.key)).get(lease.owner)
        if not taken:
            return Verdict.LOST
        taken.until = self.clock() + lease.ttl
        return Verdict.RENEWED

    def _holding(self, key: str, taken: _Taken) -> Holding:
        return Holding(key, taken.owner, taken.fence, taken.until - self.clock())


def _handed_over(holders: _Holders, claim: Claim) -> _Taken | None:
    """What the owner had after whom this one comes: it is this one's now."""
    taken = holders.get(claim.after)
    if taken:
        taken.owner = claim.owner
        holders[claim.owner] = taken
        del holders[claim.after]
    return taken


def _busy(holders: _Holders, now: float) -> Busy:
    if not holders:
        # Free, and awaited.
        return Busy()
    return Busy(next(iter(holders)), max(each.until for each in holders.values()) - now)


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: object) -> MemoryStore:
    """`memory://` or `memory://name`: the same name is the same locks, everywhere in this process."""
    name = url.partition("://")[2]
    if "?" in name or options:
        raise LockConfigError(f"{hidden(url)}: memory:// takes no options; write memory:// or memory://name")
    return MemoryStore(prefix=prefix, space=_named.setdefault(name, _Space()))
