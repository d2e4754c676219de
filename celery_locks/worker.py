"""The worker's parts: what happens in the worker's main process."""

from __future__ import annotations

import logging
import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals
from celery.worker.request import Request

from celery_locks import requeue
from celery_locks.errors import LockError
from celery_locks.stores.base import Lines, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.guard import Guard

logger = logging.getLogger("celery_locks.worker")


class LockedRequest(Request):
    """A job's message, which also tells the job how it was serialized, so that a re-queue is sent the same way."""

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        self.request_dict["properties"] = {**(message.properties or {}), "content_type": message.content_type}


class Caller:
    """Starts jobs of one worker before their countdown is over, in the thread that would have started them then."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._called: deque[Any] = deque()
        self._pipe: tuple[int, int] | None = None
        if consumer.hub is not None:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[0], False)
            consumer.hub.add_reader(self._pipe[0], self._start_all)

    def call(self, request: Any) -> None:
        """Start it soon. From any thread."""
        self._called.append(request)
        if self._pipe is None:
            self._consumer.timer.call_after(0, self._start_all)
        else:
            os.write(self._pipe[1], b"!")

    def close(self) -> None:
        """Start no more."""
        if self._pipe is not None:
            self._consumer.hub.remove_reader(self._pipe[0])
            os.close(self._pipe[0])
            os.close(self._pipe[1])
            self._pipe = None

    def _start_all(self) -> None:
        if self._pipe is not None:
            os.read(self._pipe[0], 4096)
        while self._called:
            self._start(self._called.popleft())

    def _start(self, request: Any) -> None:
        entry = request.__dict__.pop("_eta_timer_entry", None)
        if entry is None or entry.canceled:
            # Its countdown was over first.
            return
        entry.cancel()
        entry.fun(*entry.args, **entry.kwargs)


class Line(bootsteps.StartStopStep):
    """Keeps those jobs of the worker in line that wait, unacknowledged, for their countdown."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def __init__(self, consumer: Any, **_: Any) -> None:
        self._caller: Caller | None = None
        self._guards: dict[str, Guard] = {}
        _remember_entries(consumer.timer)

    def start(self, consumer: Any) -> None:
        """Begin to attend to them."""
        self._caller = Caller(consumer)
        signals.task_received.connect(self._received, weak=False)
        signals.task_revoked.connect(self._revoked, weak=False)

    def stop(self, _consumer: Any) -> None:
        """Their messages go back to the broker: nobody here can come when called."""
        signals.task_received.disconnect(self._received)
        signals.task_revoked.disconnect(self._revoked)
        for guard in set(self._guards.values()):
            guard.leave_lines()
        if self._caller:
            self._caller.close()

    def _received(self, request: Any, **_: Any) -> None:
        place = requeue.place(request.request_dict)
        if place and request.eta and self._caller:
            self._wait(request, *place, self._caller.call)

    def _wait(self, request: Any, key: str, ticket: str, call: Callable[[Any], None]) -> None:
        try:
            guard = request.task._plan.guard  # noqa: SLF001 - one's own task
        except LockError as error:
            logger.warning("%s[%s] comes by its countdown: %s", request.name, request.id, error)
            return
        if isinstance(guard.store, Lines):
            self._guards[request.name] = guard
            guard.waker.wait(Waiting(key, ticket), partial(call, request))

    def _revoked(self, request: Any, **_: Any) -> None:
        place = requeue.place(vars(request))
        guard = self._guards.get(getattr(request, "task", ""))
        if place and guard:
            guard.leave_line(*place)


def _remember_entries(timer: Any) -> None:
    """Before version 5.7 Celery does not keep with a request what would start it."""
    plain = timer.call_at

    def call_at(eta: float, fun: Any, args: Any = (), *others: Any, **named: Any) -> Any:
        entry = plain(eta, fun, args, *others, **named)
        if args and isinstance(args[0], LockedRequest):
            vars(args[0])["_eta_timer_entry"] = entry
        return entry

    timer.call_at = call_at
