"""The judge finds what it is there to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.judging import Stay, crowding, faults, misplaced, most_together, record, recorded

if TYPE_CHECKING:
    from pathlib import Path


def test_stays_one_after_the_other_are_without_fault() -> None:
    """Disjoint stays with growing fences pass, in whatever order they are told."""
    assert faults([Stay(2.0, 3.0, 11, "ben"), Stay(1.0, 2.0, 10, "anna")]) == []


def test_an_overlap_is_found() -> None:
    """A stay that begins before the last one ended is a fault, also when a short one lies in between."""
    assert len(faults([Stay(1.0, 2.0, 10, "anna"), Stay(1.5, 3.0, 11, "ben")])) == 1
    assert len(faults([Stay(1.0, 9.0, 10, "anna"), Stay(2.0, 3.0, 11, "ben"), Stay(4.0, 5.0, 12, "cleo")])) == 2


def test_a_fence_that_does_not_grow_is_found() -> None:
    """Fences must grow in the order of the stays: the same one twice, or a lower one later, is a fault."""
    assert len(faults([Stay(1.0, 2.0, 10, "anna"), Stay(3.0, 4.0, 10, "ben")])) == 1
    assert len(faults([Stay(1.0, 2.0, 10, "anna"), Stay(3.0, 4.0, 9, "ben")])) == 1


def test_what_is_recorded_is_what_is_read(tmp_path: Path) -> None:
    """A stay survives its file, in the order in which stays began."""
    stays = [Stay(2.0, 3.0, 11, "ben"), Stay(1.0, 2.0, 10, "anna")]
    for stay in stays:
        record(tmp_path, stay)
    assert recorded(tmp_path) == sorted(stays)


def test_too_many_at_once_are_found() -> None:
    """More with a slot than there are, a reader beside one of them, two alone; those that may be together are none."""
    together = [Stay(0, 9, 1, "s1"), Stay(1, 8, 2, "s2")]
    assert crowding(together, 2) == []
    assert len(crowding(together, 1)) == 1
    assert len(crowding([*together, Stay(2, 3, 3, "r1")], 2)) == 1
    assert len(crowding([Stay(0, 2, 1, "w1"), Stay(1, 3, 2, "w2")], 2)) == 1
    assert most_together(together) == 2


def test_fences_of_a_crowd_are_judged() -> None:
    """Those of two that were together are in any order; of one that came after another had left they are not."""
    assert misplaced([Stay(0, 9, 2, "r1"), Stay(1, 8, 1, "r2")]) == []
    assert len(misplaced([Stay(0, 1, 2, "r1"), Stay(2, 3, 1, "r2")])) == 1
    assert len(crowding([Stay(0, 9, 1, "r1"), Stay(1, 8, 1, "r2")], 0)) == 1
