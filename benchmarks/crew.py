"""Workers of the benchmarks of contention, and a round of jobs through them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import redis

from benchmarks import contended
from benchmarks.contended import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from benchmarks.contended import Run

ROOT = Path(__file__).parents[1]
#: Databases of the broker's server. All jobs of a round are queued in the pen, out of the workers' sight, and the list
#: is then moved as a whole: a job that goes back to its queue must not go back to a pen.
BROKER, PEN = 1, 5
QUEUE = "celery"
PATIENCE = 60.0
#: Of Celery's own doings, those that publish messages of no job.
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


class Team(NamedTuple):
    """So many workers with so many pool processes each, and the queue they take their jobs from."""

    workers: int = 2
    processes: int = 2
    queue: str = QUEUE


class Crew:
    """Workers that run, and the journal their jobs write."""

    def __init__(self, pen: redis.Redis, journal: Journal, workers: Mapping[Path, subprocess.Popen[bytes]]) -> None:
        self.journal = journal
        self._pen = pen
        self._workers = workers

    def run(self, task: Any, keys: Iterable[str], lasts: float = 0.0, *, queue: str = QUEUE) -> list[Run]:
        """One job for each of the keys, queued before and let go at once, and how they ran."""
        count = self.send(task, keys, lasts, queue=queue)
        return self.ended(count, task.name)

    def send(self, task: Any, keys: Iterable[str], lasts: float = 0.0, *, queue: str = QUEUE, **options: Any) -> int:
        """Let them go at once, and say how many they are."""
        self.journal.clear()
        jobs = list(enumerate(keys, 1))
        with contended.app.producer_pool.acquire(block=True) as producer:
            for number, key in jobs:
                task.apply_async((number, key, lasts), queue=queue, producer=producer, **options)
        if not self._pen.move(queue, BROKER):
            raise RuntimeError(f"jobs of the round before are still in {queue}")
        return len(jobs)

    def ended(self, count: int, what: str) -> list[Run]:
        """How the jobs ran, once all of them have. One that runs twice is an error, as is one that never does."""
        self.wait(self.journal.done, count, f"{count:,} jobs of {what}")
        runs = self.journal.runs()
        if sorted(run.job for run in runs) != list(range(1, count + 1)):
            raise RuntimeError(f"{what}: {len(runs):,} runs of {count:,} jobs, some more than once")
        return runs

    def wait(self, progress: Callable[[], int], goal: int, what: str) -> None:
        """Wait until the goal is reached, as long as there is some progress."""
        reached, since = -1, time.monotonic()
        while (now := progress()) < goal:
            self._check()
            if now != reached:
                reached, since = now, time.monotonic()
            elif time.monotonic() > since + PATIENCE:
                raise RuntimeError(f"{what}: {reached:,} of {goal:,}, none in the last {PATIENCE:g} s: {self._logs()}")
            time.sleep(0.005)

    def resident(self) -> int:
        """Bytes of memory in the workers' main processes, where jobs wait for their countdown."""
        return sum(_resident(worker.pid) for worker in self._workers.values())

    def _check(self) -> None:
        if any(worker.poll() is not None for worker in self._workers.values()):
            raise RuntimeError(f"a worker ended: {self._logs()}")

    def _logs(self) -> str:
        return "\n".join(f"{log.stem}: {log.read_text(errors='replace')[-2000:]}" for log in self._workers)


@contextmanager
def crew(server: str, locks: str, *teams: Team, warm: Iterable[Any] = ()) -> Iterator[Crew]:
    """Workers that have run jobs in all their processes, some of each of the tasks that are to be warmed."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        here = Path(directory)
        journal = Journal(here / "journal")
        settings = {
            "BENCHMARK_BROKER": f"{server}/{BROKER}",
            "BENCHMARK_LOCKS": locks,
            "BENCHMARK_NOTES": str(journal.path),
        }
        contended.app.conf.update(broker_url=f"{server}/{PEN}")
        with redis.Redis.from_url(f"{server}/{PEN}") as pen, _workers(teams, settings, here) as workers:
            ready = Crew(pen, journal, workers)
            for team in teams:
                _wake_up(ready, team)
                for task in warm:
                    ready.run(task, ["warm"] * 8, 0.005, queue=team.queue)
            yield ready


def _wake_up(ready: Crew, team: Team) -> None:
    """Jobs until every process of the team has had one."""
    seen: set[int] = set()
    many = team.workers * team.processes

    def all_seen() -> int:
        seen.update(run.process for run in ready.run(contended.plain, ["any"] * many, 0.05, queue=team.queue))
        return len(seen)

    ready.wait(all_seen, many, f"processes of {team.queue}")


@contextmanager
def _workers(
    teams: Iterable[Team], settings: Mapping[str, str], here: Path
) -> Iterator[dict[Path, subprocess.Popen[bytes]]]:
    """Each in a process group of its own, with a log of its own."""
    workers: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for team in teams:
            for number in range(team.workers):
                log = here / f"{team.queue}-{number}.log"
                workers[log] = _started(team, settings, log)
        yield workers
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.wait(PATIENCE)


def _started(team: Team, settings: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    size = ("-P", "prefork", "-c", str(team.processes), "-Q", team.queue, "-n", f"{log.stem}@%h")
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - our own command
            (sys.executable, "-m", "celery", "-A", "benchmarks.contended", "worker", *size, *QUIET),
            cwd=ROOT,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        command = ("ps", "-o", "rss=", "-p", str(pid))
        answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own
        return 1024 * int(answer.stdout)
