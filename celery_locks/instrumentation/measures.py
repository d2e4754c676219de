"""What is measured of locks, each from an event. The labels are few: a task's name, and never a key."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks import sight, signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celery_locks.signals import Signal

#: From a wake in the same machine to a job of an hour, in seconds.
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
PREFIX = "celery_locks"


class Measure(NamedTuple):
    """A number of events, or how long something took. `labels` are fields of the event; a task has its name."""

    name: str
    text: str
    signals: tuple[Signal[Any], ...]
    labels: tuple[str, ...] = ("task",)

    def labels_of(self, event: Any) -> dict[str, str]:
        """The labels of one event. Plain code has no task, and an empty name."""
        return {name: getattr(event, name) or "" for name in self.labels}


COUNTS = (
    Measure("acquired", "keys that were taken", (signals.acquired,)),
    Measure("contended", "times that a key was found taken", (signals.contended,)),
    Measure("requeued", "jobs that went back to their queue because their key was taken", (signals.requeued,)),
    Measure("skipped", "jobs that were not run because their key was taken", (signals.skipped,)),
    Measure("duplicates", "jobs not sent, and copies not run, that were one too many", (signals.duplicate,)),
    Measure("released", "keys that were given back by who had taken them", (signals.released,)),
    Measure("expired", "leases that had ended before they were to be given back", (signals.expired,)),
    Measure("freed", "keys that were given back for a process that died", (signals.freed,)),
    Measure("lost", "leases that ended while their work went on", (signals.lost,)),
    Measure("outages", "requests to the store without an answer", (signals.outage,), ("task", "during")),
)
#: Each with the field of the event that says how many seconds; where that is None there is nothing to measure.
DURATIONS = (
    (
        "waited",
        Measure("acquire_seconds", "from asking for a key to having it, in the slot", (signals.acquired,)),
    ),
    ("delayed", Measure("wait_seconds", "from first finding a key taken to having it", (signals.acquired,))),
    ("held", Measure("hold_seconds", "how long a key was held", (signals.released, signals.expired))),
    ("took", Measure("beat_seconds", "how long the renewal of a process' leases took", (signals.beat,), ())),
)
#: Asked of the store when they are read, by the name of the holder's task.
GAUGES = {"held": "keys that are held", "waiting": "how many wait in the lines of keys that are held"}
#: So many holders are counted.
COUNTED = 10_000


def census(locks: Any) -> dict[str, Counter[str]]:
    """What each gauge is now, by task. Of locks, or of their store."""
    store = getattr(locks, "store", locks)
    held, lines = Counter[str](), dict[str, tuple[str, int | None]]()
    for row in itertools.islice(itertools.chain.from_iterable(sight.rows(store)), COUNTED):
        task = row.seen.owner.task or ""
        held[task] += 1
        # One of several holders: they have one line.
        lines[row.seen.holding.key] = task, row.waiting
    waiting = Counter[str]()
    for task, count in lines.values():
        if count is not None:
            waiting[task] += count
    return {"held": held, "waiting": waiting}


def connect(receivers: Iterable[tuple[Measure, Callable[[Any], None]]]) -> Callable[[], None]:
    """Have each event of a measure counted from now on. Gives a function that ends that."""
    pairs = [(signal, receiver) for measure, receiver in receivers for signal in measure.signals]
    for signal, receiver in pairs:
        signal.connect(receiver)

    def stop() -> None:
        for signal, receiver in pairs:
            signal.disconnect(receiver)

    return stop
