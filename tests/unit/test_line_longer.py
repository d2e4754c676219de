"""Which jobs a worker holds longer than their countdown, and how long: those that are patient and will be called."""

from __future__ import annotations

import pytest

from celery_locks.stores.base import Waiting
from celery_locks.worker import line
from tests.unit.fake_consumer import over
from tests.unit.fakes import FakeClock
from tests.unit.hall import DATE, KEY, job, waits


@pytest.fixture
def hearing(hall, monkeypatch):
    monkeypatch.setattr(hall.waker._hearing, "hears", True)


@pytest.fixture
def moves(monkeypatch):
    """Moves the clock of the worker's part."""
    now = FakeClock()
    monkeypatch.setattr(line.time, "monotonic", now)
    return now.advance


@pytest.mark.usefixtures("hearing")
def test_a_patient_job_waits_longer_where_wakes_are_heard(hall, at_work):
    """It tells the store again that it is there, and waits half a minute more."""
    task = job(hall)
    consumer, part = at_work(task)
    request = waits(task, patient=True)
    consumer.receive(part, request)
    hall.attend()
    over(consumer)
    assert consumer.started == []
    assert [entry.eta for entry in consumer.entries] == [100.0, 100.0 + line.LOOK_AFTER]
    assert request._eta_timer_entry is consumer.entries[-1]
    hall.lines.attended.clear()
    hall.attend()
    assert hall.lines.attended == [[Waiting(KEY, f"{DATE}ann")]]


@pytest.mark.usefixtures("hearing")
def test_one_that_nobody_will_call_does_not_wait_longer(hall, at_work):
    """Its message came twice, and its ticket brought the other copy to a slot."""
    task = job(hall)
    consumer, part = at_work(task)
    for _ in range(2):
        consumer.receive(part, waits(task, patient=True))
    hall.waker._roll.remove(f"{DATE}ann").call(f"{DATE}ann")
    consumer.turn()
    assert len(consumer.started) == 1
    entry = consumer.entries[0]
    entry.fun(*entry.args)
    assert len(consumer.started) == 2


@pytest.mark.usefixtures("hearing")
def test_a_job_with_a_countdown_in_seconds_does_not_wait_longer(hall, at_work):
    """The number is a ceiling."""
    task = job(hall)
    consumer, part = at_work(task)
    consumer.receive(part, waits(task))
    over(consumer)
    assert len(consumer.started) == 1


def test_nobody_waits_longer_where_no_wake_is_heard(hall, at_work):
    """It would not be called."""
    task = job(hall)
    consumer, part = at_work(task)
    consumer.receive(part, waits(task, patient=True))
    over(consumer)
    assert len(consumer.started) == 1


@pytest.mark.usefixtures("hearing")
@pytest.mark.parametrize(
    ("broker", "longest"),
    [
        (("amqp", {}), line.LONGEST),
        (("redis", {}), line.LONGEST),
        (("redis", {"visibility_timeout": 200}), 100.0),
        (("sqs", {"visibility_timeout": 40}), 20.0),
    ],
)
def test_nobody_is_held_for_ever(hall, at_work, moves, broker, longest):
    """Up to ten minutes, or half the time after which the broker delivers it again."""
    task = job(hall)
    consumer, part = at_work(task, broker[0], broker_transport_options=broker[1])
    consumer.receive(part, waits(task, patient=True))
    held = 0
    while not consumer.started:
        moves(line.LOOK_AFTER)
        held += 1
        assert held <= 100
        over(consumer)
    assert held * line.LOOK_AFTER == pytest.approx(max(longest, line.LOOK_AFTER), abs=line.LOOK_AFTER)
    assert held * line.LOOK_AFTER <= max(longest, line.LOOK_AFTER)


@pytest.mark.usefixtures("hearing")
def test_an_expired_job_does_not_wait_longer(hall, at_work):
    """It goes where Celery ends it."""
    task = job(hall)
    consumer, part = at_work(task)
    consumer.receive(part, waits(task, patient=True, expires=-1.0))
    over(consumer)
    assert len(consumer.started) == 1
