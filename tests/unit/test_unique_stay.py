"""How long a place is kept while the message of its job waits."""

from __future__ import annotations

import datetime as dt

import pytest

from celery_locks.unique.stay import SHORTEST, stay
from tests.unit import bank
from tests.unit.bank import withdraw

HOUR = 3600.0
NOW = dt.datetime(2026, 3, 29, 0, 30, tzinfo=dt.timezone.utc)


@pytest.fixture
def task(monkeypatch):
    made = bank.task(withdraw, conf={"timezone": "Europe/Berlin"})._get_current_object()
    monkeypatch.setattr(made.app, "now", lambda: NOW.astimezone(made.app.timezone))
    return made


def seconds_from_now(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, HOUR),
        ({"countdown": 60}, HOUR + 60),
        ({"countdown": None, "eta": None, "expires": None}, HOUR),
        ({"eta": seconds_from_now(60)}, HOUR + 60),
        ({"eta": seconds_from_now(60).isoformat()}, HOUR + 60),
        ({"eta": seconds_from_now(-60)}, HOUR),
        ({"eta": seconds_from_now(60), "countdown": 5}, HOUR + 60),
        ({"expires": 60}, 60),
        ({"expires": seconds_from_now(60)}, 60),
        ({"expires": seconds_from_now(60).isoformat(), "countdown": 10}, 60),
        ({"expires": 2 * HOUR}, HOUR),
        ({"expires": seconds_from_now(-60)}, SHORTEST),
        ({"countdown": 20 * 365 * 86_400.0}, 10 * 365 * 86_400.0),
    ],
)
def test_it_is_kept_until_after_its_job_is_due_and_no_longer_than_the_job(task, sent, expected):
    """However a sender says when that is."""
    assert stay(task, HOUR, sent) == expected


def test_a_time_without_a_zone(task):
    """It is UTC, as Celery's workers read it, and as far away in the night in which an hour is missing."""
    assert stay(task, HOUR, {"eta": dt.datetime(2026, 3, 29, 2, 30)}) == 3 * HOUR  # noqa: DTZ001 - that is the test


def test_the_expiry_of_the_task_counts(task, monkeypatch):
    """A send that names none has that."""
    monkeypatch.setattr(task, "expires", 60)
    assert stay(task, HOUR, {}) == 60
    assert stay(task, HOUR, {"expires": 30}) == 30
