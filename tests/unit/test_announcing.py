"""What happens to locks as events of Celery, sent from a thread."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from types import SimpleNamespace

import pytest
from celery.events.state import State

from celery_locks import events, signals
from celery_locks.worker import announcing
from celery_locks.worker.announcing import Announcer
from tests.waiting import wait_until

EVENT = events.Acquired("wallet:42", "me", 7, 0.5, 0, task="bank.withdraw", task_id="1")


class Broker:
    """Takes events as the dispatcher of an app does, or fails."""

    def __init__(self):
        self.sent = []
        self.errors = 0
        self.events = SimpleNamespace(default_dispatcher=self._dispatcher)

    @contextlib.contextmanager
    def _dispatcher(self, hostname):
        self.hostname = hostname
        yield self

    def send(self, kind, **fields):
        if self.errors:
            self.errors -= 1
            raise ConnectionError("amqp://me:secret@host")
        self.sent.append({"type": kind, "hostname": self.hostname, "thread": threading.current_thread(), **fields})


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def announcer(broker):
    found = Announcer(broker, "celery@here")
    found.install()
    yield found
    found.uninstall()


@pytest.mark.usefixtures("announcer")
def test_an_event_is_sent_from_another_thread(broker):
    """With Celery's own names for task and id, and what Celery says of each event is left to it."""
    signals.acquired.send(EVENT)
    wait_until(lambda: broker.sent, "the event to be sent")
    [sent] = broker.sent
    assert sent.pop("thread") is not threading.current_thread()
    assert sent.pop("timestamp") > 0
    assert sent == {
        "type": "lock-acquired", "hostname": "celery@here", "name": "bank.withdraw", "uuid": "1", "key": "wallet:42",
        "keys": (), "owner": "me", "fence": 7, "waited": 0.5, "attempts": 0, "delayed": None, "process": os.getpid(),
    }  # fmt: skip


def test_every_signal_is_sent(broker, announcer):
    """Each as a type of its own; and none once it has ended."""
    announcer.uninstall()
    assert not signals.acquired
    assert announcing._SIGNALS
    announcer.install()
    signals.outage.send(events.Outage("wallet:42", "me", "renew", "no answer"))
    signals.woken.send(events.Woken("wallet:42", "me", 1.0, 2))
    wait_until(lambda: len(broker.sent) == 2, "the events to be sent")
    assert [sent["type"] for sent in broker.sent] == ["lock-outage", "lock-woken"]


@pytest.mark.usefixtures("announcer")
def test_a_broker_that_takes_none_harms_nobody(broker, caplog, monkeypatch):
    """What was to be sent is dropped, with one line that names no password; what comes later is sent."""
    monkeypatch.setattr(announcing, "PAUSE", 0.0)
    broker.errors = 1
    with caplog.at_level(logging.WARNING, "celery_locks.worker"):
        signals.acquired.send(EVENT)
        wait_until(lambda: caplog.records, "the loss to be told of")
    signals.acquired.send(EVENT)
    wait_until(lambda: broker.sent, "the event to be sent")
    assert [record.getMessage() for record in caplog.records] == [
        "1 events of locks are dropped, the broker takes none: ConnectionError"
    ]


@pytest.mark.usefixtures("announcer")
def test_a_forked_process_has_a_thread_of_its_own(broker):
    """Its parent's does not go on there."""
    signals.acquired.send(EVENT)
    wait_until(lambda: broker.sent, "the thread to run")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        signals.acquired.send(EVENT)
        wait_until(lambda: len(broker.sent) == 2, "the event to be sent")
        os.write(write, b"sent")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        assert said.read() == b"sent"
    os.waitpid(child, 0)


def test_the_state_of_a_task_is_not_touched():
    """Whoever follows tasks by their events sees them as without locks."""
    state, now = State(), {"local_received": 1.0, "timestamp": 1.0}
    known = {"hostname": "celery@here", "clock": 1, "uuid": "1", **now}
    state.event({"type": "task-received", "name": "bank.withdraw", "utcoffset": 0, "pid": 1, **known})
    state.event({"type": "task-started", "utcoffset": 0, "pid": 1, **known})
    state.event({**known, "type": announcing._type(EVENT), **announcing._fields(EVENT)})
    assert state.tasks["1"].state == "STARTED"
