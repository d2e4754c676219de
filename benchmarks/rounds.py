"""Several ways to do one thing, timed side by side: in rounds, each round in a new order."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from benchmarks.report import Measured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MICRO = 1_000_000


class Rounds:
    """Seconds by subject and round. A ratio is taken within each round, so that what slows the machine slows both."""

    def __init__(self, seconds: Mapping[str, list[float]]) -> None:
        self.seconds = seconds

    @classmethod
    def timed(cls, subjects: Mapping[str, Callable[[], object]], *, rounds: int, calls: int) -> Rounds:
        """Time `calls` calls of each subject in each round. One round before the first is not counted."""
        seconds: dict[str, list[float]] = {name: [] for name in subjects}
        order = list(subjects)
        for round_ in range(rounds + 1):
            random.shuffle(order)
            for name in order:
                took = _time(subjects[name], calls)
                if round_:
                    seconds[name].append(took)
        return cls(seconds)

    def ratio(self, subject: str, base: str) -> Measured:
        """How many times as long as the base it took."""
        pairs = zip(self.seconds[subject], self.seconds[base], strict=True)
        return Measured.of([mine / theirs for mine, theirs in pairs])

    def micros(self, subject: str) -> Measured:
        """Microseconds a call."""
        return Measured.of([MICRO * each for each in self.seconds[subject]])

    def over(self, subject: str, base: str) -> Measured:
        """Microseconds a call beyond the base."""
        pairs = zip(self.seconds[subject], self.seconds[base], strict=True)
        return Measured.of([MICRO * (mine - theirs) for mine, theirs in pairs])


def _time(subject: Callable[[], object], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        subject()
    return (time.perf_counter() - started) / calls
