"""Jobs a second through a real worker: the same empty job without a lock, as a LockedTask, and locked by hand."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from benchmarks import jobs
from benchmarks.report import AtLeast, Figure, Measured, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
WORKER = (
    *(sys.executable, "-m", "celery", "-A", "benchmarks.jobs", "worker", "-P", "prefork", "-c", str(jobs.PROCESSES)),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
#: Jobs wait here, out of the worker's sight, until all of a round are queued.
PEN = "pen"
PATIENCE = 60.0
KINDS = {
    "plain": jobs.plain,
    "LockedTask": jobs.locked,
    "LockedTask, lock_heartbeat=False": jobs.locked_without_heartbeat,
    "redis-py Lock by hand": jobs.by_hand,
}


def run(url: str, *, quick: bool) -> Part:
    """Rounds of each kind in turn, in a new order each time, through one and the same worker."""
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    count, rounds = (100, 2) if quick else (1000, 20)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        here = Path(directory)
        notes = jobs.Notes.made(here / "notes")
        settings = {"BENCHMARK_BROKER": f"{url}/1", "BENCHMARK_LOCKS": f"{url}/2", "BENCHMARK_NOTES": f"{here}/notes"}
        jobs.app.conf.update(broker_url=settings["BENCHMARK_BROKER"])
        with _worker(settings, here / "worker.log") as alive, redis.Redis.from_url(f"{url}/1") as broker:
            for round_ in range(rounds + 1):
                for kind in random.sample(list(KINDS), len(KINDS)):
                    rate = _rate(kind, count if round_ else 50, broker, notes, alive)
                    if round_:
                        rates[kind].append(rate)
    return Part("throughput", f"{count} empty jobs a round, prefork {jobs.PROCESSES}", _figures(rates))


def _figures(rates: dict[str, list[float]]) -> list[Figure]:
    return [
        Figure.of("plain", Measured.of(rates["plain"]), "jobs/s"),
        Figure.of("LockedTask / plain", _ratio(rates, "LockedTask"), target=AtLeast(0.95)),
        *(Figure.of(f"{kind} / plain", _ratio(rates, kind)) for kind in list(KINDS)[2:]),
    ]


def _ratio(rates: dict[str, list[float]], kind: str) -> Measured:
    return Measured.of([mine / plain for mine, plain in zip(rates[kind], rates["plain"], strict=True)])


def _rate(kind: str, count: int, broker: redis.Redis, notes: jobs.Notes, alive: Callable[[], None]) -> float:
    """Jobs a second from the first job done to the last. Queued before, and let go at once."""
    notes.clear()
    for number in range(count):
        KINDS[kind].apply_async((f"{kind}:{number}",), queue=PEN)
    broker.rename(PEN, jobs.QUEUE)
    deadline = time.monotonic() + PATIENCE
    while notes.done() < count:
        alive()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{kind}: {notes.done()} of {count} jobs done after {PATIENCE:g} s")
        time.sleep(0.005)
    return (count - 1) / notes.seconds()


@contextmanager
def _worker(settings: dict[str, str], log: Path) -> Iterator[Callable[[], None]]:
    """A worker in a process group of its own; and what to call to be sure that it still runs."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            WORKER,
            cwd=ROOT,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def alive() -> None:
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended: {log.read_text(errors='replace')}")

    try:
        yield alive
    finally:
        process.terminate()
        process.wait(PATIENCE)
