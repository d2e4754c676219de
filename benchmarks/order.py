"""Whether jobs ran one at a time, and in the order in which they came."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.contended import Run


def overlaps(runs: list[Run]) -> int:
    """Jobs that began before one that had begun before them had ended."""
    ends = accumulate((run.ended for run in runs), max)
    return sum(later.began < end for later, end in zip(runs[1:], ends, strict=False))


def overtaken(runs: list[Run]) -> int:
    """Jobs that had a place in line, and before which one ran that found the key taken later, or came later at all.

    One without a place has its key from its slot, free as it came or given back while it waited there as the next.
    """
    latest = accumulate((run.met or run.came for run in runs), max)
    return sum(0 < later.met < before for later, before in zip(runs[1:], latest, strict=False))
