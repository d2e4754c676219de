"""A room whose store keeps lines, and the messages of its jobs as a worker receives them."""

from __future__ import annotations

import itertools
import threading

import pytest
from kombu.message import Message
from kombu.serialization import dumps

from celery_locks import LockTimeout, requeue
from celery_locks.guard import Guard
from celery_locks.keeper import Keeper
from celery_locks.worker import LockedRequest, door
from tests.unit import bank
from tests.unit.fake_lines import FakeLines
from tests.unit.fakes import FakeClock, FaultyStore, Room, without_thread

KEY = "wallet:42"


DATE = "1700000000000000-"


_numbers = itertools.count(1)


class LinedStore(FakeLines, FaultyStore):
    """A store that keeps lines and says what it is told to say."""

    def __init__(self, clock: FakeClock) -> None:
        FakeLines.__init__(self)
        FaultyStore.__init__(self, clock)


class Hall(Room):
    """A room whose store keeps lines, and whose waker does nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = self.store = LinedStore(self.clock)
        self.keeper = without_thread(Keeper(self.store, self.clock))
        self.guard = Guard(self.store, clock=self.clock, sleep=self.clock.sleep, keeper=self.keeper)
        self.waker = self.guard.waker
        assert self.waker
        self.waker._rounds.thread = self.waker._hearing.thread = threading.current_thread()
        self.waker.note(KEY)

    def attend(self) -> None:
        """The waker's thread does what is due."""
        self.clock.advance(0.01)
        self.waker._attend()


@pytest.fixture
def hall() -> Hall:
    return Hall()


def withdraw(user_id, amount=1):
    """What the jobs of these tests do."""


def job(hall, function=withdraw, **options):
    return bank.task(function, room=hall, **{"lock_key": "wallet:{user_id}", **options})


def come(task, *args, store: dict | None = None, ident: str | None = None, **options) -> LockedRequest:
    """A message of the task as a worker has just received it."""
    ident = ident or f"job-{next(_numbers)}"
    sent = task.app.amqp.as_task_v2(ident, task.name, args=args or (42,), **options)
    content_type, encoding, body = dumps(sent.body, serializer="json")
    message = Message(
        body=body,
        content_type=content_type,
        content_encoding=encoding,
        headers={**sent.headers, **(store or {})},
        properties=sent.properties,
        delivery_info={"exchange": "", "routing_key": "celery"},
    )
    return LockedRequest(
        message, app=task.app, task=task, body=message.body, headers=message.headers, decoded=False, utc=True
    )


def waits(task, ticket=f"{DATE}ann", *, patient=False, seconds=60, **options) -> LockedRequest:
    """A job that was re-queued, and is in line."""
    headers = {requeue.KEY: KEY, requeue.TICKET: ticket, requeue.PATIENT: patient, requeue.REQUEUES: 1}
    return come(task, store=headers, countdown=seconds, **options)


def no_store(*_):
    raise LockTimeout("no such store")


def shut(task, *args, **options):
    """Whether a job of this task is kept, and the request."""
    request = come(task, *args, **options)
    kept = door.Door(task.app).shut(request)
    assert bool(kept) is bool(request.eta) or options
    return kept, request
