"""How long is a duration."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from celery_locks import LockConfigError, duration

TOO_LONG = [duration.LONGEST + 1, 1e11, threading.TIMEOUT_MAX, 10**400, 10**5000]


@pytest.mark.parametrize("value", [1, 0.001, 30, 1e8, int(duration.LONGEST), duration.LONGEST], ids=repr)
@pytest.mark.parametrize("check", [duration.seconds, duration.ttl])
def test_a_duration_is_float_seconds(check, value):
    """An int becomes a float; ten years are no error."""
    made = check("wait", value, "task t")
    assert (made, type(made)) == (value, float)


@pytest.mark.parametrize(
    "value", TOO_LONG, ids=[f"{len(str(int(each)))} digits" if each < 1e99 else "huge" for each in TOO_LONG]
)
@pytest.mark.parametrize("check", [duration.seconds, duration.ttl])
def test_more_than_ten_years_are_refused(check, value):
    """With the bound, in one line."""
    with pytest.raises(LockConfigError) as caught:
        check("lock_ttl", value, "task t")
    assert str(caught.value) == "task t: lock_ttl must be at most ten years, 315360000 seconds"


def test_the_longest_can_be_waited_for():
    """By a thread, and as the ETA of a job."""
    assert duration.LONGEST < threading.TIMEOUT_MAX
    assert dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=duration.LONGEST)
