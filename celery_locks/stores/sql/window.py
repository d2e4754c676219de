"""Until when, by the database's clock, a request may take a key: until we give up waiting for its answer."""

from __future__ import annotations

import math
from typing import NamedTuple

MICRO = 1_000_000
#: The two clocks may run apart by this many seconds at most between two readings.
GOOD_FOR = 60.0
#: Where no request can be late.
NEVER = 2**62


class Reading(NamedTuple):
    """What the database's clock said, in microseconds, and ours no later than when we heard of it."""

    theirs: int
    ours: float

    def is_fresh(self, now: float) -> bool:
        """Whether it can still be relied on."""
        return 0 <= now - self.ours < GOOD_FOR

    def latest(self, now: float, patience: float) -> int:
        """The time by their clock at which our patience ends. Never too late, for theirs was read before ours."""
        return self.theirs + int((now - self.ours + patience) * MICRO)


def micro(seconds: float) -> int:
    """So many microseconds, rounded up: the database's lease must not end before ours."""
    return math.ceil(seconds * MICRO)
