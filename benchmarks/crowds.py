"""Many short jobs: all for one key, against one process alone; and for many keys, against no locks."""

from __future__ import annotations

import random
from typing import Any

from benchmarks import contended
from benchmarks.contended import seconds
from benchmarks.crew import Team, crew
from benchmarks.report import AtLeast, AtMost, Figure, Measured, Part

SECONDS = 0.002
#: One worker of one process: what it does is one at a time without any lock.
ALONE = Team(workers=1, processes=1, queue="alone")


def one_key(url: str, *, quick: bool) -> Part:
    """Jobs a second, for a round of each in turn."""
    count, rounds = (30, 1) if quick else (1000, 3)
    keys = ["short"] * count
    rates: dict[Any, list[float]] = {contended.waiting: [], contended.retried: [], contended.plain: []}
    with crew(url, f"{url}/2", Team(), ALONE, warm=(contended.waiting, contended.in_slot)) as workers:
        for _ in range(rounds):
            for task in random.sample(list(rates), len(rates)):
                queue = ALONE.queue if task is contended.plain else Team().queue
                rates[task].append((count - 1) / seconds(workers.run(task, keys, SECONDS, queue=queue)))
    alone = rates[contended.plain]
    figures = [
        Figure.of("plain, one process alone", Measured.of(alone), "jobs/s"),
        Figure.of("LockedTask, lock_wait=1 / alone", _ratio(rates[contended.waiting], alone), target=AtLeast(0.8)),
        Figure.of("redis-py Lock, retry(countdown=1) / alone", _ratio(rates[contended.retried], alone)),
    ]
    return Part("short-jobs", f"{count:,} jobs of {1000 * SECONDS:g} ms on one key", figures)


def many_keys(url: str, *, quick: bool) -> Part:
    """Seconds from the first job to the last, for a round of each in turn."""
    count, different, rounds = (100, 10, 1) if quick else (10_000, 1000, 3)
    keys = [f"one of many:{number % different}" for number in range(count)]
    took: dict[Any, list[float]] = {contended.locked: [], contended.in_slot: [], contended.plain: []}
    waited = []
    with crew(url, f"{url}/2", Team(), warm=took) as workers:
        for _ in range(rounds):
            for task in random.sample(list(took), len(took)):
                runs = workers.run(task, keys)
                took[task].append(seconds(runs))
                if task is contended.locked:
                    waited.append(sum(run.met > 0 for run in runs))
    figures = [*_against_none(*took.values()), Figure.of("jobs that found their key taken", Measured.of(waited), "")]
    return Part("many-keys", f"{count:,} empty jobs on {different:,} keys", figures)


def _against_none(locked: list[float], by_hand: list[float], plain: list[float]) -> list[Figure]:
    return [
        Figure.of("plain", Measured.of(plain), "s"),
        Figure.of("LockedTask / plain, time", _ratio(locked, plain), target=AtMost(1.15)),
        Figure.of("redis-py Lock by hand / plain, time", _ratio(by_hand, plain)),
        Figure.of("LockedTask / redis-py Lock by hand, time", _ratio(locked, by_hand)),
    ]


def _ratio(mine: list[float], base: list[float]) -> Measured:
    return Measured.of([each / other for each, other in zip(mine, base, strict=True)])
