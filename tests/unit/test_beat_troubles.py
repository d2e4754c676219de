"""Clocks that jump, schedules that differ, and stores that are out: each due time is sent once all the same."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest
from celery.schedules import crontab

from tests.unit.beats import MIDNIGHT, Beats, grid, store_of

if TYPE_CHECKING:
    from celery_locks.beat import LockedScheduler

HOUR = 3600.0
#: In Berlin the hour from two to three is left out on the one day, and comes twice on the other.
DAYS = [datetime(2026, 3, 29, tzinfo=timezone.utc), datetime(2026, 10, 25, tzinfo=timezone.utc)]
NIGHTLY = {
    "nightly": {"task": "t", "schedule": crontab(hour=2, minute=30)},
    "often": {"task": "t", "schedule": crontab(minute="*/20")},
    "hourly": {"task": "t", "schedule": HOUR},
}


def jump(beats: Beats, beat: LockedScheduler, seconds: float) -> None:
    """Set the clock on the wall of one beat."""
    beat.app.now = lambda: beats.now(seconds).astimezone(beat.app.timezone)


@pytest.fixture
def beats() -> Beats:
    return Beats()


def test_the_clock_of_a_leader_jumps_an_hour_and_back(beats: Beats) -> None:
    """What is due by then is sent, the long part of it as one run; then it rests until that time is really there."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)
    jump(beats, first, HOUR)
    beats.run(5.0, first, second)
    jump(beats, first, 0.0)
    ahead = [*grid(1, 6), *grid(3546, 3610)]
    assert beats.seconds() == ahead
    beats.run(600.0, first, second)
    beats.run(HOUR, second)
    assert beats.seconds() == [*grid(1, 6), *grid(3546, 4210)]


def test_a_clock_that_was_behind_is_set_right(beats: Beats) -> None:
    """A beat whose clock goes back an hour sends nothing until it is where it was; one that takes over knows better."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)
    jump(beats, first, -HOUR)
    beats.run(10.0, first, second)
    assert beats.seconds() == grid(1, 5)
    first.close()
    beats.run(10.0, second)
    assert beats.seconds() == grid(1, 25)


@pytest.mark.parametrize("day", DAYS, ids=["an hour less", "an hour more"])
def test_leaders_change_in_the_night_in_which_clocks_are_set(day: datetime) -> None:
    """What one beat sends in such a night is what several send of which one after the other dies."""

    def night(watch: float) -> list[tuple[str, float]]:
        beats = Beats()
        beats.ahead = (day - MIDNIGHT).total_seconds() - 2 * HOUR
        settings = {"timezone": "Europe/Berlin", "lock_beat_ttl": 300.0}
        left, crew = 12 * HOUR, [beats.new(NIGHTLY, **settings) for _ in range(2)]
        while left > 0:
            beats.run(min(watch, left), *crew)
            left -= watch
            # Who leads dies; the other one is alone for a while.
            crew.sort(key=lambda each: each._lead.held())
            crew[1] = beats.new(NIGHTLY, **settings)
        beats.run(HOUR / 2, *crew)
        assert len({job.task_id for job in beats.sent}) == len(beats.sent)
        return sorted((job.entry, (job.due - day).total_seconds()) for job in beats.sent)

    calm = night(13 * HOUR)
    assert len([entry for entry, _ in calm if entry == "nightly"]) == 1
    assert night(0.7 * HOUR) == calm


@pytest.mark.parametrize("seconds", [4.0, 10.0, 16.0, 40.0])
def test_a_store_that_is_out_for_less_or_more_than_a_ttl(beats: Beats, seconds: float) -> None:
    """Nothing is sent meanwhile, and all of it afterwards."""
    crew = [beats.new() for _ in range(3)]
    beats.run(5.5, *crew)
    for each in crew:
        store_of(each).is_down = True
    beats.run(seconds, *crew)
    assert beats.seconds() == grid(1, 5)
    for each in crew:
        store_of(each).is_down = False
    beats.run(20.0, *crew)
    assert beats.seconds() == grid(1, int(25.5 + seconds))


def test_a_store_that_lost_everything_while_it_was_out(beats: Beats) -> None:
    """Who stood by saw the leader for the last time before that: nobody has sent anything since."""
    crew = [beats.new() for _ in range(2)]
    beats.run(5.5, *crew)
    for each in crew:
        store_of(each).is_down = True
    beats.run(20.0, *crew)
    beats.space.empty()
    for each in crew:
        store_of(each).is_down = False
    beats.run(10.0, crew[1])
    assert beats.seconds() == grid(1, 35)


def test_beats_of_two_versions_take_turns(beats: Beats) -> None:
    """What both have is sent without a gap; what one of them has, while that leads."""
    both, mine, theirs = ({name: {"task": "t", "schedule": 1.0}} for name in ("both", "mine", "theirs"))
    old = beats.new({**both, **mine})
    beats.run(5.5, old)
    old.close()
    new = beats.new({**both, **theirs})
    beats.run(5.0, old, new)
    assert old._lead.held()
    old.close()
    beats.run(5.0, new, old)
    new.close()
    beats.run(5.0, old, new)
    assert beats.seconds("both") == grid(1, 20)
    for name in ("mine", "theirs"):
        assert len(set(beats.seconds(name))) == len(beats.seconds(name))
    assert 12 not in beats.seconds("mine")
    assert 18 not in beats.seconds("theirs")


def test_an_entry_is_changed_and_another_removed_while_the_leader_dies(beats: Beats) -> None:
    """The job that it was about to send goes out under its id; then the new schedule counts."""
    schedule = {name: {"task": "t", "schedule": 1.0} for name in ("changed", "gone")}
    first = beats.new(schedule)
    beats.run(5.5, first)

    def die(_entry) -> None:
        raise SystemExit

    beats.strikes.append(die)
    with pytest.raises(SystemExit):
        beats.run(1.0, first)
    noted = first._book["changed"]
    second = beats.new({"changed": {"task": "t", "schedule": 4.0}})
    beats.run(30.0, second)
    assert [job.task_id for job in beats.sent if job.due == noted.due and job.entry == "changed"] == [noted.task_id]
    assert beats.seconds("changed") == [*grid(1, 6), *map(float, range(10, 36, 4))]
    assert beats.seconds("gone") == grid(1, 5)
