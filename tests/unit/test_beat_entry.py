"""What the message of a locked entry says: which key its job takes, and how."""

from __future__ import annotations

import celery_locks
from celery_locks.canvas import HEADER
from celery_locks.canvas.carried import found
from tests.unit.beats import Beats


def sent(beats: Beats, fields: dict) -> list:
    """What the messages of two runs say."""
    beat = beats.new({"report": {"task": "t", "schedule": 1.0}})
    celery_locks.install(beat.app)
    beat.app.conf.beat_schedule = {"report": {"task": "t", "schedule": 1.0, "options": {"queue": "q"}, **fields}}
    beat.setup_schedule()
    beats.run(2.5, beat)
    return [found(job.headers) for job in beats.sent]


def test_each_run_takes_the_key_of_its_entry() -> None:
    """By a name of its own: a run that finds it taken is skipped."""
    first, second = sent(Beats(), {"lock": True})
    assert first.key == second.key == "beat:report"
    assert first.owner != second.owner
    assert (first.ttl, first.travel, first.next, first.options) == (30.0, 30.0, None, {"on_contention": "skip"})


def test_its_options_are_those_of_a_workflow() -> None:
    """What is said of it counts before the settings of the app, and these before what is usual."""
    options = {"ttl": 60, "travel": 5, "on_contention": "requeue", "max_wait": 600}
    first, _ = sent(Beats(), {"lock": options})
    assert (first.ttl, first.travel, first.options) == (60.0, 5.0, {"max_wait": 600.0})


def test_options_of_the_job_may_say_it() -> None:
    """There `add_periodic_task` puts it."""
    first, _ = sent(Beats(), {"options": {"lock": {"ttl": 7}, "headers": {"mine": 1}}})
    assert (first.key, first.ttl) == ("beat:report", 7.0)


def test_headers_of_the_user_are_kept() -> None:
    """Beside ours; and an entry without a lock says nothing of one."""
    beats = Beats()
    beat = beats.new({"report": {"task": "t", "schedule": 1.0, "options": {"headers": {"mine": 1}}}})
    beats.run(1.5, beat)
    [job] = beats.sent
    assert job.headers == {"mine": 1, "lock_due": "2026-01-15T00:00:01+00:00"}
    assert HEADER not in job.headers
