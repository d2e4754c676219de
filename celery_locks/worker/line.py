"""Keeps the jobs that wait in a worker in line, and lets those wait at its door whose key is taken."""

from __future__ import annotations

import logging
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals
from celery.app.task import Context

from celery_locks import config, events, requeue
from celery_locks import signals as signals_of_locks
from celery_locks.canvas import plan_for
from celery_locks.lease import Busy
from celery_locks.stores.base import Waiting
from celery_locks.ticket import marked
from celery_locks.worker import answering, door
from celery_locks.worker.aside import Aside, Place
from celery_locks.worker.held import Caller, Held
from celery_locks.worker.notices import News, Notice, Teller
from celery_locks.worker.request import LockedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.guard import Guard

logger = logging.getLogger("celery_locks.worker")

#: A job whose countdown is "auto" is looked after this often while it waits here, and for no longer than the longest.
LOOK_AFTER = 30.0
LONGEST = 600.0


class Line(bootsteps.StartStopStep):
    """Keeps those jobs of a worker in line that wait, unacknowledged, for their turn."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def __init__(self, consumer: Any, **_: Any) -> None:
        self._caller: Caller | None = None
        self._aside = Aside(consumer)
        self._door = door.Door(consumer.app)
        self._guards: weakref.WeakSet[Guard] = weakref.WeakSet()
        self._visible: float | None = None
        self._warned: set[str] = set()
        self._teller, self._news = Teller(), Teller()
        consumer.timer.call_at = partial(_call_at, consumer.timer.call_at)

    def start(self, consumer: Any) -> None:
        """Begin to attend to them."""
        self._caller = Caller(consumer)
        self._visible = _visible(consumer)
        answering.attend(consumer, self)
        signals.task_received.connect(self._received)
        signals.task_revoked.connect(_revoked)

    def waits(self) -> Iterator[dict[str, Any]]:
        """Who waits here, for whoever inspects this worker."""
        return self._aside.shown()

    def stop(self, consumer: Any) -> None:
        """Give up their places: their messages go back to the broker, and nobody here comes when called."""
        answering.forget(consumer)
        signals.task_received.disconnect(self._received)
        signals.task_revoked.disconnect(_revoked)
        self._aside.close()
        for guard in self._guards:
            guard.leave_lines()
        if self._caller:
            self._caller.close()

    def _received(self, request: Any, **_: Any) -> None:
        if not isinstance(request, LockedRequest) or not self._caller:
            return
        if request.eta:
            place, joined = _place(request), None
        else:
            place, joined = self._door.shut(request) or (None, None)
        if place:
            self._warn(request)
            self._wait(request, place, joined)

    def _wait(self, request: LockedRequest, place: Waiting, joined: Callable[[Busy], None] | None) -> None:
        guard, caller = request.guard, self._caller
        if guard is None or guard.waker is None or caller is None:
            return
        self._guards.add(guard)
        patient = requeue.is_patient(request.request_dict) and not self._door.stands_open
        notice = Notice(joined) if joined else None

        def call(ticket: str) -> None:
            request.request_dict[requeue.TICKET] = ticket
            caller.call(held)
            if signals_of_locks.woken:
                # Whoever hears it may take long, and the next is to be called meanwhile.
                self._news.tell(News(partial(_tell_woken, request, place.key)), Busy())

        mine = Place(guard, place, weakref.ref(request), call, partial(self._teller.tell, notice) if notice else None)
        held = request.held = Held(
            request,
            more=partial(self._more, request, mine, time.monotonic()) if patient else lambda: None,
            leave=partial(self._aside.begin, mine),
            may_start=lambda: notice is None or notice.withdrawn(partial(caller.call, held)),
        )
        self._aside.wait(mine)

    def _more(self, request: LockedRequest, mine: Place, since: float) -> float | None:
        """Whether one whose time is over may wait for its turn all the same, and how long."""
        waker = mine.guard.waker
        longest = min(LONGEST, (self._visible or LONGEST * 2) / 2)
        expired = bool(request.expires) and request.maybe_expire()
        if expired or not (waker and waker.hears()) or time.monotonic() - since + LOOK_AFTER > longest:
            return None
        # One that nobody will call, as when its message came twice and the other copy was called, need not wait.
        return LOOK_AFTER if waker.again(mine.waiting) or self._aside.has(mine) else None

    def _warn(self, request: LockedRequest) -> None:
        """Say so, once a task, when the broker will deliver a job again that still waits for its countdown."""
        wait = (request.eta - request.task.app.now()).total_seconds() if request.eta else 0.0
        if self._visible is not None and wait > self._visible and request.task.name not in self._warned:
            self._warned.add(request.task.name)
            logger.warning(
                "%s waits for up to %.0f s, and the broker delivers again what is held for %.0f s: such a job comes"
                " more than once. Raise visibility_timeout in broker_transport_options, or lower lock_countdown",
                request.task.name,
                wait,
                self._visible,
            )


def _tell_woken(request: LockedRequest, key: str) -> None:
    sent = Context(request.request_dict)
    # It has no owner before it asks for its key.
    event = events.Woken(
        key,
        f"{request.task.name}[{request.id}]",
        requeue.waited(sent),
        requeue.requeues(sent),
        task=request.task.name,
        task_id=request.id,
    )
    signals_of_locks.woken.send(event)


def _place(request: LockedRequest) -> Waiting | None:
    known = requeue.place(request.request_dict)
    if known is None:
        return None
    key, ticket = known
    if request.plan:
        # What its task asks for may have changed since.
        options = request.plan.options
        ticket = marked(ticket, options.slots, shared=options.shared)
    return Waiting(key, ticket, comes=requeue.comes(request.request_dict))


def _visible(consumer: Any) -> float | None:
    """Seconds after which the broker delivers an unacknowledged message again, if it does."""
    connection = consumer.connection
    return config.redelivered_after(consumer.app.conf, connection.transport_cls if connection else "")


def _revoked(sender: Any, request: Any, **_: Any) -> None:
    place = requeue.place(vars(request))
    # The request knows its task by name only.
    plan = plan_for(sender, vars(request)) if place else None
    if place and plan:
        plan.guard.leave_line(*place)


def _call_at(plain: Callable[..., Any], eta: float, fun: Any, args: Any = (), **named: Any) -> Any:
    """Set a timer. One for a job that waits for its turn is the job's own to set."""
    held = args[0].held if args and isinstance(args[0], LockedRequest) else None
    if held is None:
        return plain(eta, fun, args, **named)
    return held.timed(plain, eta, fun, args, **named)
