"""Signals and the records they carry."""

from __future__ import annotations

import dataclasses
import logging
import os

import pytest

from celery_locks import events, signals
from celery_locks.signals import Signal

KINDS = events.Event.__subclasses__()


@pytest.fixture
def signal() -> Signal[events.Lost]:
    return Signal("lost")


@pytest.fixture
def event() -> events.Lost:
    return events.Lost("wallet:42", "me", 7, "expired")


def test_receivers_are_called_in_the_order_they_came(signal, event):
    """The first connected is the first called."""
    order = []
    for name in "abc":
        signal.connect(lambda _, name=name: order.append(name))
    signal.send(event)
    assert order == ["a", "b", "c"]


def test_a_receiver_takes_the_event_itself(signal, event):
    """A receiver has one argument: the record."""
    seen = []
    signal.connect(seen.append)
    signal.send(event)
    assert seen == [event]


def test_a_failing_receiver_harms_nobody(signal, event, caplog):
    """What a receiver raises is logged, and those after it are called."""
    seen = []

    @signal.connect
    def fails(_event):
        raise ZeroDivisionError

    signal.connect(seen.append)
    signal.send(event)
    assert seen == [event]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("celery_locks.signals", logging.ERROR)
    assert "'lost'" in record.getMessage()
    assert "fails" in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


def test_a_receiver_that_always_fails_is_told_of_once_a_minute(signal, event, caplog, clock, monkeypatch):
    """Each by itself: thousands of events are no thousands of tracebacks. One that is connected anew begins anew."""
    monkeypatch.setattr(signals, "_clock", clock)
    # One that is equal to others cannot be hashed.
    fails, other = [], _Failing()
    for each in (fails, other):
        signal.connect(each)
    told = []
    for seconds in (0.0, 1.0, 58.9, 0.2):
        clock.advance(seconds)
        signal.send(event)
        told.append(len(caplog.records))
    assert told == [2, 2, 2, 4]
    signal.disconnect(fails)
    signal.connect(fails)
    signal.send(event)
    assert len(caplog.records) == 5


@dataclasses.dataclass
class _Failing:
    def __call__(self, _event):
        raise ZeroDivisionError


def test_connecting_twice_calls_once(signal, event):
    """A receiver is in the list once, as when its module is imported twice."""
    seen = []
    signal.connect(seen.append)
    signal.connect(seen.append)
    signal.send(event)
    assert seen == [event]


def test_connect_is_a_decorator(signal):
    """It gives back the function."""

    def receiver(_event): ...

    assert signal.connect(receiver) is receiver


def test_a_disconnected_receiver_is_called_no_more(signal, event):
    """After `disconnect` nothing arrives, and the others stay."""
    seen, others = [], []
    signal.connect(seen.append)
    signal.connect(others.append)
    signal.disconnect(seen.append)
    signal.send(event)
    assert (seen, others) == ([], [event])


def test_disconnecting_a_stranger_does_nothing(signal, event):
    """A receiver that was never connected can be disconnected."""
    seen = []
    signal.connect(seen.append)
    signal.disconnect(print)
    signal.send(event)
    assert seen == [event]


def test_a_receiver_may_disconnect_itself(signal, event):
    """Changing the list while an event is handed round disturbs nobody."""
    seen = []

    def once(got):
        seen.append(got)
        signal.disconnect(once)

    signal.connect(once)
    signal.connect(seen.append)
    signal.send(event)
    signal.send(event)
    assert seen == [event, event, event]


def test_a_signal_without_receivers_is_false(signal):
    """So that an event nobody wants is never made."""
    assert not signal
    signal.connect(print)
    assert signal
    signal.disconnect(print)
    assert not signal


def test_a_signal_shows_its_name(signal):
    """Its repr names it and counts its receivers."""
    assert repr(signal) == "<Signal lost: 0 receivers>"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_has_its_signal(kind):
    """For each kind of event there is a signal of its name."""
    signal = getattr(signals, kind.__name__.lower())
    assert isinstance(signal, Signal)
    assert signal.name == kind.__name__.lower()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_frozen(kind):
    """A receiver cannot change what the next one sees."""
    event = kind(**{field.name: None for field in dataclasses.fields(kind) if field.name != "pid"})
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, field.name, "changed")


def test_an_event_says_in_which_process(event):
    """The pid is that of the process where it happened."""
    assert event.pid == os.getpid()


def test_an_event_without_a_job_says_so(event):
    """Task and task id are None where no Celery job is behind it."""
    assert (event.task, event.task_id) == (None, None)


def test_signals_exports_every_signal():
    """`from celery_locks.signals import *` gives every signal and nothing else but the class."""
    made = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert set(signals.__all__) == {*made, "Signal"}


def test_an_event_names_its_worker(monkeypatch):
    """Once it is known which one this process belongs to."""
    monkeypatch.setattr(events, "_worker", None)
    assert events.Freed("wallet:42", "me").worker is None
    events.happen_in("celery@here")
    assert events.Freed("wallet:42", "me").worker == "celery@here"
