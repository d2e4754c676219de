"""What jobs cost that wait for many keys, one for each: memory in Redis and in the workers, commands and messages."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import contended
from benchmarks.contended import seconds
from benchmarks.crew import Team, crew
from benchmarks.lines import counting
from benchmarks.report import Figure, Part
from benchmarks.server import own_server
from celery_locks import Locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.crew import Crew
    from benchmarks.lines import Counting

REMARKS = (
    "in Redis: all that is there and was not when the keys were merely taken",
    "each job finds its own key taken, and goes back to its queue once; of the commands some are of the first holder",
)


class _Cost(NamedTuple):
    """For each job: bytes while it waits, commands and messages in all; and jobs a second when all keys are free."""

    in_redis: float
    in_worker: float
    commands: float
    messages: float
    rate: float


def run(url: str, *, quick: bool) -> Part:
    """One round: who waits takes the memory it takes."""
    count = 50 if quick else 10_000
    keys = [f"waited for:{number}" for number in range(count)]
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-") as directory,
        own_server(Path(directory)) as locks,
        crew(url, locks, Team(), warm=[contended.patient]) as workers,
        counting(url, locks) as counts,
    ):
        cost = _cost(workers, locks, counts, keys)
    figures = [
        Figure("in Redis, MEMORY USAGE of what is written for it, bytes a job", cost.in_redis, "B"),
        Figure("resident in the workers, bytes a job", cost.in_worker, "B"),
        Figure("Redis commands a job", cost.commands, ""),
        Figure("messages a job", cost.messages, ""),
        Figure("empty jobs a second, while the keys are given back", cost.rate, "jobs/s"),
    ]
    return Part("many-lines", f"{count:,} keys with one waiting job each", figures, REMARKS)


def _cost(workers: Crew, locks: str, counts: Counting, keys: Sequence[str]) -> _Cost:
    count = len(keys)
    with _taken(locks, keys):
        names, resident = counts.names(), workers.resident()
        counts.begin()
        workers.send(contended.patient, keys)
        workers.wait(lambda: counts.held(2 * count), count, f"{count:,} jobs in as many lines")
        in_redis = counts.bytes(counts.names() - names)
        in_worker = max(0, workers.resident() - resident)
    took = seconds(workers.ended(count, "jobs in many lines"))
    commands, messages = counts.commands(), counts.messages()
    rate = (count - 1) / took
    return _Cost(in_redis / count, in_worker / count, commands / count, messages / count, rate)


@contextmanager
def _taken(url: str, keys: Sequence[str]) -> Iterator[None]:
    locks = Locks(url)
    held = [locks.lock(key, ttl=600, heartbeat=False) for key in keys]
    for lock in held:
        lock.acquire()
    yield
    for lock in held:
        lock.release()
    locks.close()
