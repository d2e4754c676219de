"""Due times follow from each other: intervals as a grid, crontabs by the clock on the wall."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import BaseSchedule, crontab, schedule

from celery_locks.beat import due

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def app() -> Celery:
    return Celery("bank", broker="memory://", set_as_current=False, timezone="Europe/Berlin")


def berlin(*parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=BERLIN, fold=fold).astimezone(timezone.utc)


def some(plan, last: datetime, count: int) -> list[datetime]:
    """The next due times, looked for a while after the last of them."""
    found = []
    for _ in range(count):
        last = due.after(plan, last, berlin(2027, 1, 1))
        found.append(last)
    return found


def test_an_interval_counts_seconds(app: Celery) -> None:
    """An hour is an hour, also where the clock on the wall is set."""
    last = berlin(2026, 10, 25, 0, 30)
    found = some(schedule(3600.0, app=app), last, 5)
    assert found == [last + timedelta(hours=number) for number in range(1, 6)]


def test_a_crontab_goes_by_the_wall(app: Celery) -> None:
    """At eight each day, in summer and in winter; a time that comes twice is due once, one that is left out later."""
    assert some(crontab(hour=8, minute=0, app=app), berlin(2026, 10, 24, 8), 2) == [
        berlin(2026, 10, 25, 8),
        berlin(2026, 10, 26, 8),
    ]
    twice = crontab(hour=2, minute=30, app=app)
    assert some(twice, berlin(2026, 10, 24, 2, 30), 2) == [berlin(2026, 10, 25, 2, 30), berlin(2026, 10, 26, 2, 30)]
    assert some(twice, berlin(2026, 3, 28, 2, 30), 2) == [berlin(2026, 3, 29, 3, 30), berlin(2026, 3, 30, 2, 30)]


def test_a_crontab_that_counts_from_an_hour_that_comes_twice(app: Celery) -> None:
    """Begun or come back within the second one: what is left of that is left out, and it goes on after it."""
    last = berlin(2026, 10, 25, 2, 24, fold=1)
    three = berlin(2026, 10, 25, 3)
    assert some(crontab(minute="*/30", app=app), last, 2) == [three, three + timedelta(minutes=30)]
    assert some(crontab(app=app), last, 2) == [three, three + timedelta(minutes=1)]
    daily = crontab(hour=2, minute=30, app=app)
    assert some(daily, last, 2) == [berlin(2026, 10, 26, 2, 30), berlin(2026, 10, 27, 2, 30)]


def test_a_crontab_of_a_time_within_a_minute(app: Celery) -> None:
    """What a start or a collapsed run leaves as the last time is none of its own."""
    last = datetime(2026, 1, 15, 10, 20, 30, 500, tzinfo=timezone.utc)
    found = some(crontab(minute="*/15", app=app), last, 2)
    assert found == [datetime(2026, 1, 15, 10, minute, tzinfo=timezone.utc) for minute in (30, 45)]


def test_a_crontab_of_the_day_before(app: Celery) -> None:
    """What was due before midnight is not passed over after it."""
    app.conf.timezone = "UTC"
    found = some(crontab(minute="50,55", app=app), datetime(2026, 1, 15, 23, 50, tzinfo=timezone.utc), 2)
    assert found == [
        datetime(2026, 1, 15, 23, 55, tzinfo=timezone.utc),
        datetime(2026, 1, 16, 0, 50, tzinfo=timezone.utc),
    ]


def test_a_relative_interval_is_rounded(app: Celery) -> None:
    """As Celery rounds it: to the hour of the app's zone."""
    app.conf.timezone = "Asia/Kolkata"
    last = datetime(2026, 1, 15, 10, 20, tzinfo=timezone.utc)
    plan = schedule(3600.0, relative=True, app=app)
    found = due.after(plan, last, datetime(2026, 1, 15, 10, 25, tzinfo=timezone.utc))
    assert found == datetime(2026, 1, 15, 10, 30, tzinfo=timezone.utc)


class Sun(BaseSchedule):
    """Rises at six, give or take what a float cannot hold."""

    def remaining_estimate(self, last_run_at):
        rises = last_run_at.replace(hour=6, minute=0, second=0, microsecond=7)
        return rises + timedelta(days=last_run_at > rises) - self.now()


def test_a_schedule_of_another_kind_is_asked_how_long_it_is(app: Celery) -> None:
    """By a clock that stands still: the same due time comes out whenever it is asked, and never twice."""
    app.conf.timezone = "UTC"
    last = datetime(2026, 1, 15, 6, tzinfo=timezone.utc)
    found = some(Sun(app=app), last, 2)
    assert found == [datetime(2026, 1, day, 6, 0, 0, 7, tzinfo=timezone.utc) for day in (16, 17)]
    assert Sun(app=app).nowfun is None


class Once(BaseSchedule):
    """One time, that is over or is not."""

    def remaining_estimate(self, last_run_at):  # noqa: ARG002 - Celery gives it
        return datetime(2026, 1, 15, tzinfo=timezone.utc) - self.now()


def test_what_is_due_once_is_not_due_again(app: Celery) -> None:
    """Its due time is not after itself."""
    once = datetime(2026, 1, 15, tzinfo=timezone.utc)
    assert due.after(Once(app=app), once - timedelta(days=1), once) == once
    assert due.after(Once(app=app), once, once) is None


class Whenever(BaseSchedule):
    """Says only whether it is due."""


@pytest.mark.parametrize("plan", [Whenever(), schedule(0.0), object()])
def test_one_that_does_not_tell_is_asked_each_time(plan) -> None:
    """Its due time is the moment in which it says yes."""
    now = datetime(2026, 1, 15, tzinfo=timezone.utc)
    assert not due.is_told(plan)
    assert due.after(plan, now - timedelta(days=1), now) == now
    assert due.resumed(plan, now, now - timedelta(days=1)) == now


def test_what_was_missed_for_long_counts_as_one(app: Celery) -> None:
    """An interval stays on its grid; a crontab counts from the limit."""
    first = datetime(2026, 1, 15, tzinfo=timezone.utc)
    limit = first + timedelta(hours=5, seconds=2)
    assert due.resumed(schedule(600.0, app=app), first, limit) == first + timedelta(hours=5)
    assert due.resumed(crontab(app=app), first, limit) == limit
    assert due.resumed(crontab(app=app), first, first - timedelta(hours=1)) == first
