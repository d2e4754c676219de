"""Durations: float seconds, checked where they come in."""

from __future__ import annotations

import math

from celery_locks.errors import LockConfigError

#: Ten years. Past 292 of them a waiting thread ends with `OverflowError`, the one that beats among them.
LONGEST = 10 * 365 * 86_400.0


def seconds(name: str, value: object, where: str, *, above_zero: bool = False) -> float:
    """A duration, or the error that says what it must be."""
    wanted = "a number of seconds above 0" if above_zero else "a number of seconds, 0 or more"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if 0 <= value <= LONGEST and not (above_zero and value == 0):
            return float(value)
        if LONGEST < value < math.inf:
            # The value is not said: Python refuses to write a very long int.
            raise LockConfigError(f"{where}: {name} must be at most ten years, {LONGEST:.0f} seconds")
    raise LockConfigError(f"{where}: {name} must be {wanted}, not {value!r}")


def ttl(name: str, value: object, where: str) -> float:
    """A lease's length, or the error that says what it must be."""
    return seconds(name, value, where, above_zero=True)
