"""Takes jobs out of line while their worker has no slot for them, and puts them back when it has one.

A job that is called and cannot start costs its key a claim window, and so does each behind it in the same worker. So
when one that was called gets no slot soon, it leaves the line and all that wait here for the same key stand aside. They
keep their dated tickets, and so come back to their places.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.worker import state

from celery_locks.rounds import Rounds
from celery_locks.ticket import parts

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterable, Iterator

    from celery_locks.guard import Guard
    from celery_locks.lease import Busy
    from celery_locks.stores.base import Waiting
    from celery_locks.worker.request import LockedRequest

#: A job that was called is to have a slot within so many seconds: as long as the shortest claim window. One that just
#: ended has still to be heard of.
SOON = 0.25
#: Whether there is a slot for those who stand aside is looked at this often.
LOOK = 0.1
#: Of those who wait for one key so many come back at once: should there be no slot after all, they leave again.
TOGETHER = 100


@dataclass(eq=False)
class Place:
    """Where a job of this worker waits, what starts it, and whom to tell, once, where in line it stands."""

    guard: Guard
    waiting: Waiting
    #: Not kept alive from here: it may be lost in the pool.
    request: weakref.ref[LockedRequest]
    start: Callable[[str], None] | None
    joined: Callable[[Busy], None] | None

    @property
    def line(self) -> tuple[Guard, str]:
        """The store's guard, and the key."""
        return self.guard, self.waiting.key

    def has_begun(self) -> bool:
        """Whether it needs no slot any more."""
        request = self.request()
        return request is None or request.has_begun


class Aside:
    """All jobs of a worker that wait for their turn: in line, aside, or called and on their way into a slot."""

    def __init__(self, consumer: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._consumer = consumer
        self._clock = clock
        self._mutex = threading.Lock()
        self._in_line: dict[tuple[Guard, str], dict[Place, None]] = {}
        self._aside: dict[tuple[Guard, str], dict[Place, None]] = {}
        #: Those that were started while they were in line, each with the time at which it is to have a slot.
        self._called: dict[Place, float] = {}
        #: Those of them that had none by then, and left the line.
        self._late: list[Place] = []
        self._look_at = 0.0
        self._rounds = Rounds("aside", self._mutex, self._attend, self._due, clock)

    def wait(self, place: Place) -> None:
        """It waits from now on: in line, unless those of its key stand aside."""
        with self._mutex:
            others = self._aside.get(place.line)
            if others is None:
                self._line_up(place)
            else:
                others[place] = None

    def begin(self, place: Place) -> None:
        """It goes to the pool, by its turn or because its time is over; its turn may come while it has no slot yet."""
        with self._mutex:
            self._aside.get(place.line, {}).pop(place, None)
            if self._takes_out(place):
                place.start = None
                _waker(place).forget(place.waiting.ticket)
                self._expect(place)

    def has(self, place: Place) -> bool:
        """Whether it stands aside: its turn may come when there is a slot."""
        with self._mutex:
            return place in self._aside.get(place.line, {})

    def shown(self) -> Iterator[dict[str, Any]]:
        """All of them: the job, its key and ticket, and where it stands."""
        with self._mutex:
            lines = [("line", each) for each in self._in_line.values()]
            lines += [("aside", each) for each in self._aside.values()]
            found = [(stands, place) for stands, each in lines for place in each]
            found += [("called", place) for place in self._called]
        for stands, place in found:
            if request := place.request():
                key, ticket = place.waiting.key, parts(place.waiting.ticket)[0]
                yield {"key": key, "task": request.name, "task_id": request.id, "stands": stands, "ticket": ticket}

    def close(self) -> None:
        """Nobody waits here any more."""
        with self._mutex:
            for each in (self._in_line, self._aside, self._called, self._late):
                each.clear()

    def _line_up(self, place: Place) -> None:
        # The waker calls and tells from threads of its own, never from in here.
        self._in_line.setdefault(place.line, {})[place] = None
        joined = partial(self._joined, place) if place.joined else None
        _waker(place).wait(place.waiting, partial(self._call, place), joined)

    def _joined(self, place: Place, busy: Busy) -> None:
        with self._mutex:
            joined, place.joined = place.joined, None
            _dated(place, busy.ticket)
        if joined:
            joined(busy)

    def _call(self, place: Place, ticket: str) -> None:
        with self._mutex:
            if not self._takes_out(place):
                # It stands aside by now: its turn goes to the next.
                return
            _dated(place, ticket)
            start, place.start = place.start, None
            self._expect(place)
        if start:
            start(ticket)

    def _takes_out(self, place: Place) -> bool:
        """Whether it was in line."""
        others = self._in_line.get(place.line, {})
        if place not in others:
            return False
        del others[place]
        if not others:
            del self._in_line[place.line]
        return True

    def _expect(self, place: Place) -> None:
        self._called[place] = self._clock() + SOON
        self._rounds.expect(self._called[place])

    def _due(self) -> float | None:
        times = [*self._called.values(), *([self._look_at] if self._aside else [])]
        return min(times, default=None)

    def _attend(self) -> None:
        with self._mutex:
            leaving = [(line, self._stand_aside(line)) for line in self._stuck()]
        for (guard, key), tickets in leaving:
            guard.leave_line(key, *tickets)
        with self._mutex:
            if self._aside and self._look_at <= self._clock():
                self._look_at = self._clock() + LOOK
                self._come_back()

    def _stuck(self) -> Iterable[tuple[Guard, str]]:
        """The lines in which one was called that has no slot yet and can have none."""
        now = self._clock()
        self._called = {place: when for place, when in self._called.items() if not place.has_begun()}
        late = [place for place, when in self._called.items() if when <= now]
        self._called |= dict.fromkeys(late, now + LOOK)
        return dict.fromkeys(place.line for place in late if self._is_crowded(place))

    def _stand_aside(self, line: tuple[Guard, str]) -> list[str]:
        """The tickets that leave. The called one is the last, or another of them would be called for it."""
        called = [place for place in self._called if place.line == line]
        for place in called:
            del self._called[place]
        self._late += called
        waiting = self._in_line.pop(line, {})
        self._aside[line] = dict.fromkeys(sorted([*self._aside.get(line, {}), *waiting], key=_since))
        return [place.waiting.ticket for place in (*waiting, *called)]

    def _come_back(self) -> None:
        """All of a key when there is a slot for them. Else one at a time, when the one before has had its slot."""
        # One that has just begun has still to ask for the key, which might be kept for the next by then.
        late, self._late = self._late, [place for place in self._late if not place.has_begun()]
        under_way = {place.line for place in (*late, *self._called)}
        for line, places in list(self._aside.items()):
            first = next(iter(places), None)
            is_crowded = bool(first and self._is_crowded(first))
            if line in under_way or (is_crowded and line in self._in_line):
                continue
            back = list(itertools.islice(places, 1 if is_crowded else TOGETHER))
            for place in back:
                del places[place]
                self._line_up(place)
            if not places:
                del self._aside[line]

    def _is_crowded(self, place: Place) -> bool:
        """Whether the pool has work for all its slots without this job, or the job waits for a rate limit."""
        request, pool = place.request(), self._consumer.pool
        if request is None:
            return False
        others = len(state.reserved_requests) - (request in state.reserved_requests)
        # Some pools count the slots that are in use. That of processes, when it was scaled, knows its first limit only.
        slots = max(pool.num_processes, pool.limit)
        return others >= slots or bool(self._consumer.task_buckets.get(request.task.name))


def _waker(place: Place) -> Any:
    return place.guard.waker


def _dated(place: Place, ticket: str | None) -> None:
    if ticket:
        place.waiting = place.waiting._replace(ticket=ticket)


def _since(place: Place) -> str:
    """Those without a date come last, as they came here."""
    return parts(place.waiting.ticket)[1] or "~"
