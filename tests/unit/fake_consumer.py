"""What the worker's part needs of a consumer; its timer and its loop move when they are told to."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from celery_locks.worker import Line


class Consumer:
    """What the worker's part needs of one."""

    def __init__(self, task, transport="redis", **conf):
        self.app = task.app
        self.app.conf.update(conf)
        self.entries: list = []
        self.later: list = []
        self.timer = SimpleNamespace(call_at=self._call_at, call_after=lambda _, fun: self.later.append(fun))
        self.hub = None
        self.connection = SimpleNamespace(transport_cls=transport)
        self.started: list = []

    def _call_at(self, eta, fun, args=(), **_):
        entry = SimpleNamespace(eta=eta, fun=fun, args=args)
        self.entries.append(entry)
        return entry

    def turn(self) -> None:
        while self.later:
            self.later.pop(0)()

    def receive(self, part: Line, request) -> None:
        """What Celery does with a message."""
        part._received(request)
        if request.eta:
            request._eta_timer_entry = self.timer.call_at(100.0, self.started.append, (request,), priority=6)
        else:
            self.started.append(request)


def over(consumer) -> None:
    entry = consumer.entries[-1]
    entry.fun(*entry.args)


@pytest.fixture
def at_work():
    """Starts the worker's part for a task."""
    with contextlib.ExitStack() as stack:

        def start(task, transport="redis", **conf) -> tuple[Consumer, Line]:
            consumer = Consumer(task, transport, **conf)
            part = Line(consumer)
            part.start(consumer)
            stack.callback(part.stop, consumer)
            return consumer, part

        yield start
