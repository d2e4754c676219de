"""Who holds what inside one process: the room behind `memory://`."""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery_locks.lease import Busy
from celery_locks.ticket import Stance

if TYPE_CHECKING:
    from celery_locks.lease import Claim


#: Prefix and key, side by side: joined, "a:" with "b:c" and "a:b:" with "c" would be one.
Name = tuple[str, str]

_spaces: weakref.WeakSet[Space] = weakref.WeakSet()


def _empty_in_child() -> None:
    """A fork copies locks in whatever state they were, a mutex held by another thread among them."""
    for space in _spaces:
        space.empty()


os.register_at_fork(after_in_child=_empty_in_child)


#: One that waits where it asks looks again within this time, in seconds.
_ASKS_AGAIN = 0.5


@dataclass
class Taken:
    """One holder of a key."""

    owner: str
    fence: int
    until: float
    slots: int
    shared: bool


class Written:
    """How far a schedule has come, and under which fence and as its how many-th write."""

    def __init__(self) -> None:
        self.at = (0, 0)
        self.texts: dict[str, str] = {}


@dataclass
class _Awaited:
    """One that wants a key alone, and waits where it asked: those who share the key let it in."""

    owner: str
    until: float


#: Those that have a key, by their owners.
Holders = dict[str, Taken]


def _is_alone(claim: Claim | Taken) -> bool:
    return claim.slots == 1 and not claim.shared


def _admits(holders: Holders, claim: Claim, slots: int | None) -> bool:
    """Whether one more may have it."""
    first = next(iter(holders.values()), None)
    if first is None or _is_alone(first) or _is_alone(claim):
        return first is None
    return claim.shared if first.shared else not claim.shared and len(holders) < (slots or claim.slots)


class Space:
    """The locks of one process under one name. Fences come from one counter, so that no key costs memory for ever."""

    def __init__(self) -> None:
        self.fence = time.time_ns() // 1000
        self.empty()
        _spaces.add(self)

    def empty(self) -> None:
        self.mutex = threading.Lock()
        self.taken: dict[Name, Holders] = {}
        self.awaited: dict[Name, _Awaited] = {}
        self.slots: dict[Name, int] = {}
        self.written: dict[Name, Written] = {}
        self.sweep_at = 1024

    def put(self, name: Name, taken: Taken, now: float) -> None:
        """Keep a lock. Those of holders that died unheard are swept out when the room has doubled."""
        self.taken.setdefault(name, {})[taken.owner] = taken
        if len(self.taken) >= self.sweep_at:
            for each in list(self.taken):
                self.alive(each, now)
            self.awaited = {name: each for name, each in self.awaited.items() if each.until > now}
            self.sweep_at = max(1024, 2 * len(self.taken))

    def alive(self, name: Name, now: float) -> Holders:
        """Those that have it, without those whose time is over."""
        holders = self.taken.get(name)
        if holders is None:
            return {}
        for owner in [owner for owner, each in holders.items() if each.until <= now]:
            del holders[owner]
        if not holders:
            del self.taken[name]
        return holders

    def admits(self, name: Name, claim: Claim, now: float) -> bool:
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


def handed_over(holders: Holders, claim: Claim) -> Taken | None:
    """What the owner had after whom this one comes: it is this one's now."""
    taken = holders.get(claim.after)
    if taken:
        taken.owner = claim.owner
        holders[claim.owner] = taken
        del holders[claim.after]
    return taken


def busy(holders: Holders, now: float) -> Busy:
    """What one hears that is not let in."""
    if not holders:
        # Free, and awaited.
        return Busy()
    return Busy(next(iter(holders)), max(each.until for each in holders.values()) - now)
