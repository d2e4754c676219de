"""Beats of one schedule in one process, under a clock that moves when told to."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from celery import Celery
from celery.beat import ScheduleEntry, SchedulingError
from celery.schedules import schedstate

from celery_locks import locks
from celery_locks.beat import LockedScheduler
from celery_locks.beat.inner import InMemory
from celery_locks.errors import StoreUnavailable
from celery_locks.guard import Guard
from celery_locks.stores.memory import MemoryStore
from celery_locks.stores.space import Space
from tests.unit.fakes import START, FakeClock

#: An entry of each second.
REPORT = {"report": {"task": "t", "schedule": 1.0}}
MIDNIGHT = datetime(2026, 1, 15, tzinfo=timezone.utc)


class Job(NamedTuple):
    """What was published."""

    entry: str
    due: datetime
    task_id: str
    headers: dict[str, Any]


class Recording(InMemory):
    """A scheduler of somebody else's, that publishes into a list."""

    def apply_async(self, entry, producer=None, advance=True, **_):  # noqa: FBT002 - as Celery calls it
        assert (producer, advance) == ("producer", False)
        if strikes := self.app.strikes:
            strikes.pop(0)(entry)
        headers = entry.options["headers"]
        due = datetime.fromisoformat(headers["lock_due"])
        self.app.sent.append(Job(entry.name, due, entry.options["task_id"], headers))
        if late := self.app.strikes_after:
            late.pop(0)(entry)

    producer = "producer"


class Switched(ScheduleEntry):
    """One that can be switched off, as in a database."""

    def is_due(self):
        return schedstate(is_due=False, next=5.0) if self.app.is_off else super().is_due()


class Switching(Recording):
    """A scheduler of such entries."""

    Entry = Switched


class Down(MemoryStore):
    """A store that can be told to be out."""

    is_down = False
    #: So many calls are answered before it is out.
    answers: int | None = None
    #: So many writes of a position are not answered, and arrive when they are delivered.
    withholds = 0

    def __init__(self, **named) -> None:
        super().__init__(**named)
        self.withheld: list[Any] = []

    def deliver(self) -> None:
        """Let the writes arrive that were withheld."""
        while self.withheld:
            super().put(*self.withheld.pop())

    def _heard(self):
        if self.answers is not None:
            self.is_down = self.answers <= 0
            self.answers -= 1
        if self.is_down:
            raise StoreUnavailable("the server does not answer: start it")

    def acquire(self, claim):
        self._heard()
        return super().acquire(claim)

    def renew(self, leases):
        self._heard()
        return super().renew(leases)

    def release(self, claim):
        self._heard()
        return super().release(claim)

    def inspect(self, key):
        self._heard()
        return super().inspect(key)

    def take_up(self, schedule, fence):
        self._heard()
        return super().take_up(schedule, fence)

    def put(self, schedule, fence, number, texts):
        self._heard()
        if self.withholds:
            self.withholds -= 1
            self.withheld.append((schedule, fence, number, texts))
            raise StoreUnavailable("the server does not answer: start it")
        return super().put(schedule, fence, number, texts)


class Beats:
    """Any number of them over one store, and what they have published together."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.space = Space()
        self.sent: list[Job] = []
        self.strikes: list[Any] = []
        self.strikes_after: list[Any] = []
        #: So much the wall clock of those that are made from now on is ahead of the others.
        self.ahead = 0.0

    def new(self, schedule=None, scheduler="tests.unit.beats:Recording", **conf) -> LockedScheduler:
        app = Celery("bank", broker="memory://", set_as_current=False)
        app.conf.update(beat_schedule=REPORT if schedule is None else schedule, result_expires=None, **conf)
        app.conf.lock_beat_scheduler = scheduler
        app.sent, app.strikes, app.strikes_after = self.sent, self.strikes, self.strikes_after
        app.is_off, ahead = False, self.ahead
        app.now = lambda: self.now(ahead).astimezone(app.timezone)
        ours = locks.Locks(Down(clock=self.clock, space=self.space))
        ours.guard = Guard(ours.store, clock=self.clock, sleep=self.clock.sleep)
        locks._of_app[app] = {None: ours}
        return LockedScheduler(app)

    def now(self, ahead: float = 0.0) -> datetime:
        return MIDNIGHT + timedelta(seconds=self.clock.now - START + ahead)

    def run(self, seconds: float, *beats: LockedScheduler) -> None:
        """Have them tick, each when it wants to, for so long."""
        until = self.clock.now + seconds
        wakes = dict.fromkeys(beats, self.clock.now)
        while wakes:
            beat = min(wakes, key=wakes.__getitem__)
            at = wakes[beat]
            if at > until:
                break
            self.clock.advance(max(0.0, at - self.clock.now))
            wakes[beat] = self.clock.now + beat.tick()
        self.clock.advance(max(0.0, until - self.clock.now))

    def seconds(self, entry: str | None = None) -> list[float]:
        """The due times of what was sent, in seconds since midnight."""
        return [(job.due - MIDNIGHT).total_seconds() for job in self.sent if entry in (None, job.entry)]


def grid(first: int, last: int) -> list[float]:
    """Each second from the first to the last."""
    return [float(second) for second in range(first, last + 1)]


def store_of(beat: LockedScheduler) -> Down:
    return beat._lead.store


def unreachable(_entry: Any) -> None:
    """What Celery makes of a broker that is out."""
    try:
        Path("/nowhere/nobody").read_text()
    except OSError:
        raise SchedulingError("Couldn't apply scheduled task") from None


def unsendable(_entry: Any) -> None:
    """And of arguments that cannot be written."""
    try:
        {}[0]
    except KeyError:
        raise SchedulingError("Couldn't apply scheduled task") from None
