"""Judges what contenders for one key have recorded: whether it was one at a time, with fences in their order."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Stay(NamedTuple):
    """One holder's stay under a lock, on the clock that all processes of a machine share (`time.monotonic`).

    It begins after the store said yes and ends before the lock is given back: what lies within must be exclusive.
    """

    begin: float
    end: float
    fence: int
    owner: str


def record(folder: Path, stay: Stay) -> None:
    """Write a stay into a file of its own, so that no two processes share one."""
    # Renamed when whole, for others may be reading.
    half = folder / f"{stay.fence}-{stay.owner}.half"
    half.write_text(json.dumps(stay))
    half.rename(half.with_suffix(".stay"))


def recorded(folder: Path) -> list[Stay]:
    """What all processes have recorded, in the order in which it began."""
    return sorted(Stay(*json.loads(path.read_text())) for path in folder.glob("*.stay"))


def faults(stays: Iterable[Stay]) -> list[str]:
    """What is wrong with these stays under one key; empty when they were exclusive and their fences in order."""
    ordered = sorted(stays)
    return [*_overlaps(ordered), *disorder(ordered)]


def _overlaps(ordered: list[Stay]) -> list[str]:
    found, last = [], None
    for stay in ordered:
        if last and stay.begin < last.end:
            found.append(f"{stay.owner} came {last.end - stay.begin:.6f} s before {last.owner} had left")
        last = stay if last is None or stay.end > last.end else last
    return found


def disorder(stays: Iterable[Stay]) -> list[str]:
    """What is wrong with the fences of these stays, which grow in the order in which they began."""
    return [
        f"{after.owner} has fence {after.fence}, not above {before.fence} of {before.owner} before it"
        for before, after in pairwise(sorted(stays))
        if after.fence <= before.fence
    ]


def crowding(stays: list[Stay], slots: int) -> list[str]:
    """What is wrong with these stays of owners called `r...`, `s...` and `w...`: readers, with a slot, and alone."""
    found, inside = [], dict[str, Stay]()
    for _, ends, stay in sorted(
        [(each.begin, True, each) for each in stays] + [(each.end, False, each) for each in stays]
    ):
        if not ends:
            del inside[stay.owner]
            continue
        inside[stay.owner] = stay
        kinds = [name[0] for name in inside]
        if len(set(kinds)) > 1 or kinds.count("w") > 1 or kinds.count("s") > slots:
            found.append(f"{sorted(inside)} held it together")
    fences = [stay.fence for stay in stays]
    return found + ["a fence was given twice"] * (len(set(fences)) < len(fences))


def misplaced(stays: list[Stay]) -> list[str]:
    """Fences that are not above those of all who had left before.

    These stays begin when the key is asked for: of two that hold it together the first to get it may be the last to
    say so.
    """
    found = []
    highest, position, by_end = 0, 0, sorted(stays, key=lambda stay: stay.end)
    for stay in sorted(stays):
        while by_end[position].end < stay.begin:
            highest = max(highest, by_end[position].fence)
            position += 1
        if stay.fence <= highest:
            found.append(f"{stay.owner} has fence {stay.fence}, not above {highest} of one before it")
    return found


def most_together(stays: list[Stay]) -> int:
    """How many held it at one time at most."""
    steps = sorted([(stay.begin, 1) for stay in stays] + [(stay.end, -1) for stay in stays])
    most = count = 0
    for _, step in steps:
        count += step
        most = max(most, count)
    return most
