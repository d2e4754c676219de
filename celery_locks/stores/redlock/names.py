"""How a key is called in the servers, and how long a ttl is there."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from celery_locks.lease import Holding
from celery_locks.stores.redis import names as single

#: Clocks may run apart by this part of a ttl, and by this many seconds more for what they round. A node keeps a lease
#: that much longer, so that the holder may believe in it for its whole ttl.
DRIFT, ROUNDING = 0.01, 0.002
_LOCK = re.compile(rb"([0-9]+):(.*)\0[0-9]+", re.DOTALL)


class Names(NamedTuple):
    """The names of one prefix."""

    prefix: str

    def of(self, key: str) -> tuple[str, str]:
        """The lock and its fence. They are those of a single Redis, braces and all."""
        lock = self.lock(key)
        return lock, f"{lock}:fence"

    def lock(self, key: str) -> str:
        """The lock alone."""
        return single.lock_name(self.prefix, key)

    def note(self, name: str) -> str:
        """What a note is called."""
        return single.note_name(self.prefix, name)

    def key(self, name: bytes) -> str:
        """The key of a lock by its name."""
        return single.key_of(self.prefix, name)

    def glob(self, pattern: str) -> str:
        """What the names of locks match whose keys match the pattern."""
        return single.glob(self.prefix, pattern)


def kept_ms(ttl: float) -> int:
    """For how long a node keeps a lease of this ttl."""
    return max(1, math.ceil(round((ttl * (1 + DRIFT) + ROUNDING) * 1000, 3)))


def believed(left: int) -> float | None:
    """For how long the holder believes in a lease that a node keeps for so many milliseconds more."""
    return max(0.0, (left / 1000 - ROUNDING) / (1 + DRIFT)) if left >= 0 else None


def until_free(left: list[int], majority: int) -> float | None:
    """When so many nodes are no longer taken that the rest is no majority."""
    if not left:
        return None
    return believed(sorted(left, reverse=True)[min(len(left), majority) - 1])


def held(key: str, shown: list[list[Any]], majority: int, silent: int) -> Holding | None:
    """Who has the key by what many nodes show, if with those that are silent it may have a majority."""
    by_owner: dict[bytes, list[tuple[int, int]]] = {}
    for written, left in shown:
        ours = _LOCK.fullmatch(written)
        owner, fence = (ours[2], int(ours[1])) if ours else (written, 0)
        by_owner.setdefault(owner, []).append((fence, left))
    owner, found = max(by_owner.items(), key=lambda each: len(each[1]), default=(b"", []))
    if not found or len(found) + silent < majority:
        return None
    return Holding(key, text(owner), max(found)[0], until_free([left for _, left in found], majority))


def text(owner: bytes) -> str:
    """An owner's name as it was given."""
    return owner.decode("utf-8", "replace")
