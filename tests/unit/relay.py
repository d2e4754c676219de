"""Workflows that hold a key, on a broker in memory: each message is run when a test says so, by Celery's own tracer."""

from __future__ import annotations

import contextvars
import copy
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from celery.app.trace import trace_task
from kombu.transport.memory import Transport

from celery_locks import current_lease, install
from celery_locks.worker.members import see_members
from tests.unit import bank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kombu import Message

    from tests.unit.fakes import Room

KEY = "wallet:7"
_numbers = itertools.count()


class Relay:
    """An app with tasks that know nothing of locks, the messages they send, and what was seen by those that ran."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.app = bank.app(room, task_default_queue=f"relay-{next(_numbers)}")
        self.app.conf.result_backend = None
        install(self.app)
        self.seen: list[tuple[str, int, str]] = []
        self.bodies: dict[str, Callable[[Any], Any]] = {}

        def run(task: Any, name: str = "") -> Any:
            lease = current_lease()
            self.seen.append((name, lease.fence_of(lease.key), lease.owner))
            return self.bodies.get(name, lambda _: name)(task)

        self.step = self.task(run, "step")

    def task(self, function: Any, name: str, **options: Any) -> Any:
        """One more task, before the first message is run."""
        self.app.task(function, name=name, bind=True, shared=False, **options)
        self.app.finalize()
        see_members(self.app)
        return self.app.tasks[name]

    def job(self, name: str) -> Any:
        return self.step.si(name)

    def message(self) -> Message:
        """The next message in the queue."""
        with (
            self.app.connection_for_read() as connection,
            connection.SimpleQueue(self.app.conf.task_default_queue) as queue,
        ):
            message = queue.get_nowait()
            message.ack()
            return message

    def is_empty(self) -> bool:
        with (
            self.app.connection_for_read() as connection,
            connection.SimpleQueue(self.app.conf.task_default_queue) as queue,
        ):
            return queue.qsize() == 0

    def run(self, message: Message | None = None) -> Any:
        """Run a message as the process of a pool does."""
        message = message or self.message()
        # Celery takes the next of a chain out of what it was given.
        args, kwargs, embedded = copy.deepcopy(message.payload)
        request = {**message.headers, **embedded, "args": args, "kwargs": kwargs, "is_eager": False}
        request |= {"delivery_info": {"exchange": "", "routing_key": self.app.conf.task_default_queue}}
        task = self.app.tasks[message.headers["task"]]
        context = contextvars.Context()
        return context.run(trace_task, task, message.headers["id"], args, kwargs, request, app=self.app).retval

    def run_all(self) -> None:
        """Until none is left. A workflow that goes round in circles fails."""
        for _ in range(20):
            if self.is_empty():
                return
            self.run()
        raise AssertionError(f"messages without an end: {self.names}")

    def holder(self) -> str | None:
        return self.room.holder(KEY)

    def is_on_its_way(self) -> bool:
        """Whether the key waits for a message."""
        return (self.holder() or "").startswith("baton[")

    def left(self) -> float:
        holding = self.room.store.memory.inspect(KEY)
        assert holding
        return holding.remaining

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.seen]

    @property
    def fences(self) -> list[int]:
        return [fence for _, fence, _ in self.seen]


@pytest.fixture
def relay(room: Room) -> Iterator[Relay]:
    yield Relay(room)
    # Its queues are those of the process.
    Transport.global_state.clear()
