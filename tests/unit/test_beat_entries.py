"""Entries that come, go, change and were missed: what of them is sent."""

from __future__ import annotations

import pytest

from tests.unit.beats import Beats, grid


@pytest.fixture
def beats() -> Beats:
    return Beats()


def test_a_night_is_one_run(beats: Beats) -> None:
    """What was missed for longer than `lock_beat_catch_up` is one run, the rest is sent each, and the grid stays."""
    beats.run(5.5, beats.new())
    beats.clock.advance(30_000)
    beats.run(1.0, beats.new(lock_beat_catch_up=3))
    assert beats.seconds() == [*grid(1, 5), 6.0, *grid(30003, 30006)]


def test_nothing_is_caught_up(beats: Beats) -> None:
    """With 0 all that was missed is one run, as Celery does it."""
    beats.run(5.5, beats.new())
    beats.clock.advance(30_000)
    beats.run(1.0, beats.new(lock_beat_catch_up=0))
    assert beats.seconds() == [*grid(1, 5), 6.0, 30006.0]


def test_a_restart_goes_on_where_it_was(beats: Beats) -> None:
    """An entry of an hour is sent an hour after it was, also if no beat ever runs for so long."""
    schedule = {"report": {"task": "t", "schedule": 3600.0}}
    for _ in range(5):
        beat = beats.new(schedule)
        beats.run(2000.0, beat)
        beat.close()
    assert beats.seconds() == [3600.0, 7200.0]


def test_each_entry_counts_for_itself(beats: Beats) -> None:
    """The due times of all entries are sent in order."""
    schedule = {"a": {"task": "t", "schedule": 2.0}, "b": {"task": "t", "schedule": 3.0}}
    beats.run(12.5, beats.new(schedule))
    assert beats.seconds("a") == [2, 4, 6, 8, 10, 12]
    assert beats.seconds("b") == [3, 6, 9, 12]
    assert beats.seconds() == sorted(beats.seconds())


def test_an_entry_that_was_gone_was_not_due(beats: Beats) -> None:
    """Taken out by a deployment and put in again by a later one, it counts from then on."""
    both = {name: {"task": "t", "schedule": 10.0} for name in ("a", "b")}
    for seconds, schedule in ((25.0, both), (25.0, {"a": both["a"]}), (26.0, both)):
        beat = beats.new(schedule)
        beats.run(seconds, beat)
        beat.close()
    assert beats.seconds("a") == [10, 20, 30, 40, 50, 60, 70]
    assert beats.seconds("b") == [10, 20, 60, 70]


def test_an_entry_that_comes_while_beat_runs(beats: Beats) -> None:
    """It counts from when it was made; one that goes is sent no more, and one that comes back was not due meanwhile."""
    beat = beats.new({"a": {"task": "t", "schedule": 10.0}})
    beats.run(25.0, beat)
    beat.add(name="b", task="t", schedule=10.0)
    beats.run(25.0, beat)
    gone = beat.schedule.pop("b")
    beats.run(25.0, beat)
    gone.last_run_at = beat.app.now()
    beat.schedule["b"] = gone
    beats.run(25.0, beat)
    assert beats.seconds("b") == [35, 45, 85, 95]
    assert beats.seconds("a") == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]


def test_an_entry_whose_schedule_changes(beats: Beats) -> None:
    """Its next due time is counted from the last one that was sent."""
    beat = beats.new({"a": {"task": "t", "schedule": 10.0}})
    beats.run(25.0, beat)
    other = beat.Entry(name="a", task="t", schedule=3.0, app=beat.app)
    beat.schedule["a"].update(other)
    beats.run(5.0, beat)
    assert beats.seconds() == [10, 20, 23, 26, 29]


def test_an_entry_that_is_switched_off_is_one_run(beats: Beats) -> None:
    """As a scheduler over a database does it: what its time came for meanwhile counts as one when it is on again."""
    beat = beats.new(scheduler="tests.unit.beats:Switching")
    beats.run(3.5, beat)
    beat.app.is_off = True
    beats.run(10.0, beat)
    beat.app.is_off = False
    beats.run(10.0, beat)
    assert beats.seconds()[:4] == [*grid(1, 3), 4.0]
    assert beats.seconds()[4:] == grid(int(beats.seconds()[4]), 23)
    # It was last seen to be off five seconds before it was seen to be on.
    assert 8 < beats.seconds()[4] < 15
