"""Many jobs for one key: how long it stands idle, how often a job goes back to its queue, and who comes first."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import chart, contended
from benchmarks.contended import seconds
from benchmarks.crew import Team, crew
from benchmarks.order import overlaps, overtaken
from benchmarks.report import AtLeast, AtMost, Figure, Measured, Part

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contended import Run

SECONDS = 0.05


class Way(NamedTuple):
    """A way to run one job of a key at a time, and how long the key is to be busy at least, in percent."""

    task: Any
    busy: AtLeast | None = None

    @property
    def ours(self) -> bool:
        return self.busy is not None


WAYS = {
    "LockedTask": Way(contended.locked, AtLeast(93)),
    "LockedTask, lock_wait=1": Way(contended.waiting, AtLeast(97)),
    "redis-py Lock, retry(countdown=1)": Way(contended.retried),
    "redis-py Lock, waits in its slot": Way(contended.in_slot),
}
#: Without the one whose jobs wait for a second: all that it needs is warmed by the others.
WARM = (contended.locked, contended.waiting, contended.in_slot)
REMARKS = (
    "busy: of the time from the first start to the last end; overtaken: by one that met the key taken, or came, later",
    "who waits in its slot keeps a pool process from all other work: no LockedTask does, with lock_wait one a key",
    "no other package for Celery that we know of puts a job back until its key is free: celery-once, celery-singleton,",
    "celery-heimdall, celery-once-task, rhubarb and celery-task-locker drop it; django-redis-task-lock waits in its",
    "slot, with redis-py's Lock",
)


def run(url: str, *, quick: bool, picture: Path | None = None) -> Part:
    """Each way in turn, in a new order each round, through the same two workers."""
    count, rounds = (8, 1) if quick else (100, 3)
    held: dict[str, list[list[Run]]] = {name: [] for name in WAYS}
    with crew(url, f"{url}/2", Team(), warm=WARM) as workers:
        for _ in range(rounds):
            for name in random.sample(list(WAYS), len(WAYS)):
                held[name].append(workers.run(WAYS[name].task, ["hot"] * count, SECONDS))
    title = f"{count} jobs of {1000 * SECONDS:g} ms on one key"
    if picture:
        rows = {_headed(name, runs[-1]): runs[-1] for name, runs in held.items()}
        chart.draw(f"{title}, two workers of two processes: which job had the key when", rows, picture)
    figures = [figure for name, way in WAYS.items() for figure in _figures(name, way, held[name])]
    return Part("hot-key", title, figures, REMARKS)


def _headed(name: str, runs: list[Run]) -> str:
    return f"{name}: done in {seconds(runs):.1f} s, key busy {busy(runs):.0f} % of the time"


def _figures(name: str, way: Way, rounds: list[list[Run]]) -> list[Figure]:
    none, once = (AtMost(0), AtMost(1)) if way.ours else (None, None)
    requeues = Measured.of([sum(run.requeues for run in runs) / len(runs) for runs in rounds])
    figures = [
        Figure.of(f"{name}: busy", Measured.of([busy(runs) for runs in rounds]), "%", way.busy),
        Figure.of(f"{name}: re-queues a job", requeues, "", once),
        Figure(f"{name}: jobs that overlap", sum(map(overlaps, rounds)), "", target=none),
    ]
    if way.task is contended.in_slot:
        return figures
    return [*figures, Figure(f"{name}: jobs overtaken", sum(map(overtaken, rounds)), "", target=none)]


def busy(runs: list[Run]) -> float:
    """Percent of the time from the first start to the last end in which a job had the key."""
    return 100 * sum(run.ended - run.began for run in runs) / seconds(runs)
