"""Waiting for a condition, never for a length of time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout: float = 20, interval: float = 0.01) -> T:
    """The condition's first true answer; a TimeoutError that says what was waited for when none came in time."""
    deadline = time.monotonic() + timeout
    while True:
        last_chance = time.monotonic() >= deadline
        if answer := condition():
            return answer
        if last_chance:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(interval)
