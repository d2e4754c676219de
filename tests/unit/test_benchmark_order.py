"""What the benchmark of the hot key calls overtaken."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks.order import overtaken


# Each job with when it came to its slot and when its place in line began, or 0, in the order in which they ran.
@pytest.mark.parametrize(
    ("runs", "count"),
    [
        pytest.param([(1, 0), (50, 2), (60, 3)], 0, id="in order"),
        pytest.param([(1, 0), (50, 3), (60, 2)], 1, id="a later place first"),
        pytest.param([(1, 0), (9, 0), (50, 2), (60, 3)], 2, id="one without a place, that came later"),
        pytest.param([(1, 0), (9, 0), (50, 9), (60, 10)], 0, id="one without a place, that came before"),
        pytest.param([(1, 0), (50, 9), (5, 0)], 0, id="one without a place, behind: nobody knows"),
    ],
)
def test_who_was_overtaken(runs, count):
    """One with a place, by one whose place began later or who had none and came later."""
    assert overtaken([SimpleNamespace(came=came, met=met) for came, met in runs]) == count
