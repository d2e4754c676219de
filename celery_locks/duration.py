"""Durations: float seconds, checked where they come in."""

from __future__ import annotations

import math

from celery_locks.errors import LockConfigError


def seconds(name: str, value: object, where: str, *, above_zero: bool = False) -> float:
    """A duration, or the error that says what it must be."""
    wanted = "a number of seconds above 0" if above_zero else "a number of seconds, 0 or more"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise LockConfigError(f"{where}: {name} must be {wanted}, not {value!r}")
    if value < 0 or (above_zero and value == 0):
        raise LockConfigError(f"{where}: {name} must be {wanted}, not {value!r}")
    return float(value)


def ttl(name: str, value: object, where: str) -> float:
    """A lease's length, or the error that says what it must be."""
    return seconds(name, value, where, above_zero=True)
