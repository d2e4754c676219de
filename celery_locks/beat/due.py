"""When an entry is due: at times that follow from each other, and not from when a beat came to look.

All times are in UTC.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from celery.beat import ScheduleEntry
from celery.schedules import BaseSchedule, crontab, schedule, solar
from celery.utils.time import timezone as zones

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A schedule of another kind may tell of a time once more, for it counts in parts of a second that a time has not.
_PAST = timedelta(seconds=1)


def is_told(plan: Any) -> bool:
    """Whether a schedule tells its due times. One that does not is due when it says so, and counts from then."""
    if isinstance(plan, schedule):
        every: Any = vars(plan)["run_every"]
        return isinstance(every, timedelta) and every > timedelta(0)
    return isinstance(plan, BaseSchedule) and type(plan).remaining_estimate is not BaseSchedule.remaining_estimate


def after(plan: Any, last: datetime, now: datetime) -> datetime | None:
    """The first due time after the last; None where there is none."""
    if not is_told(plan):
        return now
    if isinstance(plan, crontab):
        due = _on_the_wall(plan, last)
    elif _is_grid(plan):
        due = last + plan.run_every
    else:
        due = _estimated(plan, last if isinstance(plan, schedule) else last + _PAST, now)
    return due if due > last else None


def resumed(plan: Any, due: datetime, limit: datetime) -> datetime:
    """What the next due time is counted from, when one run stands for all those from this one on up to the limit."""
    if limit <= due:
        return due
    if is_told(plan) and _is_grid(plan):
        # On the grid, also after a night.
        every: timedelta = plan.run_every
        return due + (limit - due) // every * every
    return limit


def is_certain(entry: Any) -> bool:
    """Whether an entry whose time has come is due: nothing but its schedule decides, and that is one of Celery's."""
    plan = entry.schedule
    is_own = type(plan) in (schedule, crontab, solar) and type(entry).is_due is ScheduleEntry.is_due
    return is_own and is_told(plan) and entry.app.conf.beat_cron_starting_deadline is None


def seen_by(plan: Any, last: datetime, app: Any) -> datetime:
    """The last run, as a schedule expects it: in the zone of the app, where its hours are.

    Before version 5.7 Celery takes the hours of another zone for those, and an interval of which both ends are in one
    zone for one of the clock on the wall.
    """
    return last if _is_grid(plan) else last.astimezone(app.timezone)


def _on_the_wall(plan: crontab, last: datetime) -> datetime:
    """Of an hour that comes twice all times are those of the first: whoever counts from the second finds them over."""
    here, due = last.astimezone(zones.get_timezone(plan.tz)), last
    while due <= last:
        # Before version 5.7 it reckons otherwise on another day than the last.
        with _standing(plan, here):
            seen, delta, _ = plan.remaining_delta(here)
        here = seen + delta
        due = here.astimezone(timezone.utc)
    return due


def _is_grid(plan: Any) -> bool:
    return isinstance(plan, schedule) and not plan.relative


def _estimated(plan: Any, last: datetime, now: datetime) -> datetime:
    """Of a schedule that tells only how long it is until then: by a clock that stands still meanwhile."""
    here = now.astimezone(plan.maybe_make_aware(plan.now()).tzinfo)
    with _standing(plan, here):
        left: timedelta = plan.remaining_estimate(last.astimezone(here.tzinfo))
    return now + left


@contextlib.contextmanager
def _standing(plan: Any, at: datetime) -> Iterator[None]:
    """Let it be this time for a schedule."""
    before, plan.nowfun = plan.nowfun, lambda: at
    try:
        yield
    finally:
        plan.nowfun = before
