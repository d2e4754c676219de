"""What is shown of a job that waits is shown before it starts, or not at all."""

from __future__ import annotations

import threading

import pytest

from celery_locks.lease import Busy
from celery_locks.worker.notices import Notice, Teller
from tests.waiting import wait_until

BUSY = Busy("ann", 30.0, 2)


def never():
    pytest.fail("nobody waited for it")


def test_a_notice_is_shown_once():
    """With where the job stands."""
    shown = []
    notice = Notice(shown.append)
    notice.give(BUSY)
    notice.give(BUSY)
    assert shown == [BUSY]
    assert notice.withdrawn(never)


def test_a_notice_that_was_withdrawn_is_not_shown():
    """Its job has started: it would hide how that ended."""
    shown = []
    notice = Notice(shown.append)
    assert notice.withdrawn(never)
    notice.give(BUSY)
    assert shown == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_starts_when_its_notice_has_been_shown(fails):
    """It asks again then, also when it could not be shown."""
    story = []

    def show(_):
        assert not notice.withdrawn(lambda: story.append("starts"))
        story.append("shown")
        if fails:
            raise OSError("the backend is down")

    notice = Notice(show)
    try:
        notice.give(BUSY)
    except OSError:
        assert fails
    assert story == ["shown", "starts"]
    assert notice.withdrawn(never)


def test_a_slow_backend_holds_up_no_turn():
    """Whoever is called while the notices of others are being shown starts at once, unshown."""
    slow, begun, shown, teller = threading.Event(), threading.Event(), [], Teller()

    def show(name):
        begun.set()
        assert slow.wait(10)
        shown.append(name)

    first, second, third = (Notice(lambda _, name=name: show(name)) for name in "abc")
    for notice in (first, second, third):
        teller.tell(notice, BUSY)
    assert begun.wait(10)
    assert second.withdrawn(never)
    slow.set()
    wait_until(lambda: shown == ["a", "c"], "the others to be shown")


def test_one_that_cannot_be_shown_harms_no_other(caplog):
    """It is said in the log."""
    shown, teller = [], Teller()

    def fail(_):
        raise OSError("the backend is down")

    teller.tell(Notice(fail), BUSY)
    teller.tell(Notice(shown.append), BUSY)
    wait_until(lambda: shown, "the second to be shown")
    assert "could not be shown" in caplog.text
