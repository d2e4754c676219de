"""The worker's parts: what happens in the worker's main process."""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals
from celery.worker.request import Request

from celery_locks import requeue
from celery_locks.errors import LockError

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
    """Starts jobs of a worker before their countdown is over, in the thread that would have started them then."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._called: deque[Any] = deque()
        self._pipe: tuple[int, int] | None = None
        if consumer.hub is not None:
            self._pipe = os.pipe()
            for end in self._pipe:
                os.set_blocking(end, False)
            consumer.hub.add_reader(self._pipe[0], self._start_all)
        self._open = True

    def call(self, request: Any) -> None:
        """Start it soon. From any thread."""
        self._called.append(request)
        if not self._open:
            return
        if self._pipe is None:
            self._consumer.timer.call_after(0, self._start_all)
        else:
            # A full pipe has woken the loop already; a closed one wakes nobody any more.
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(self._pipe[1], b"!")

    def close(self) -> None:
        """Start no more."""
        self._open = False
        if self._pipe is not None:
            self._consumer.hub.remove_reader(self._pipe[0])
            for end in self._pipe:
                os.close(end)

    def _start_all(self) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._pipe[0], 4096)
        while self._called:
            _start(self._called.popleft())


class Line(bootsteps.StartStopStep):
    """Keeps those jobs of a worker in line that wait, unacknowledged, for their countdown."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def __init__(self, consumer: Any, **_: Any) -> None:
        self._caller: Caller | None = None
        self._guards: weakref.WeakSet[Guard] = weakref.WeakSet()
        consumer.timer.call_at = partial(_call_at, consumer.timer.call_at)

    def start(self, consumer: Any) -> None:
        """Begin to attend to them."""
        self._caller = Caller(consumer)
        signals.task_received.connect(self._received)
        signals.task_revoked.connect(_revoked)

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Give up their places: their messages go back to the broker, and nobody here comes when called."""
        signals.task_received.disconnect(self._received)
        signals.task_revoked.disconnect(_revoked)
        for guard in self._guards:
            guard.leave_lines()
        if self._caller:
            self._caller.close()

    def _received(self, request: Any, **_: Any) -> None:
        place = requeue.place(request.request_dict)
        guard = _guard(request.task) if place and request.eta else None
        if place and guard and self._caller:
            self._guards.add(guard)
            vars(request)["_lock_called"] = partial(guard.called, *place)
            guard.attend(*place, partial(self._caller.call, request))


def _guard(task: Any) -> Guard | None:
    try:
        guard: Guard = task._plan.guard  # noqa: SLF001 - a locked task's own
    except (AttributeError, LockError) as error:
        logger.warning("a job of %s comes by its countdown: %s", task.name, error)
        return None
    return guard


def _revoked(sender: Any, request: Any, **_: Any) -> None:
    place = requeue.place(vars(request))
    guard = _guard(sender) if place else None
    if place and guard:
        guard.leave_line(*place)


class _Start:
    """What starts a job that waits: its countdown or its turn, whichever comes first."""

    def __init__(self, called: Callable[[], None], fun: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._once: Callable[[], None] | None = partial(fun, *args)
        self._called = called
        self.entry: Any = None

    def __call__(self, *_: Any) -> None:
        once, self._once = self._once, None
        if once is not None:
            self._called()
            once()
            # The timer keeps what it was given until the countdown is over. Green ones keep it a step further in.
            getattr(self.entry, "entry", self.entry).args = ()


def _call_at(plain: Callable[..., Any], eta: float, fun: Any, args: Any = (), *rest: Any, **named: Any) -> Any:
    """Set a timer, and note with a request that is in line what starts it."""
    called = vars(args[0]).get("_lock_called") if args and isinstance(args[0], LockedRequest) else None
    if called is None:
        return plain(eta, fun, args, *rest, **named)
    start = vars(args[0])["_lock_start"] = _Start(called, fun, args)
    start.entry = plain(eta, start, args, *rest, **named)
    if vars(args[0]).get("_lock_early"):
        start()
    return start.entry


def _start(request: Any) -> None:
    # Where timers have a thread of their own, a turn may come before the timer is set.
    vars(request)["_lock_early"] = True
    start = vars(request).get("_lock_start")
    if start is not None:
        start()
