"""A soft time limit, as Celery has it: an exception in the middle of anything."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class SoftTimeLimit(Exception):
    """What Celery raises in the middle of anything."""


@contextlib.contextmanager
def struck_after(seconds: float) -> Iterator[None]:
    """A soft time limit for the body."""

    def strike(_signum: int, _frame: FrameType | None) -> None:
        raise SoftTimeLimit

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def struck_awaiting(way: Any) -> Iterator[None]:
    """A soft time limit for a body that asks once, while its answer is still on the way."""
    way.delay(0.3, "answers")
    with pytest.raises(SoftTimeLimit), struck_after(0.15):
        yield
    way.delay(0)
