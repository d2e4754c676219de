"""The jobs of the benchmarks of contention: each writes down when it had its key. A worker imports this."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from celery import Celery
from celery.signals import task_prerun, worker_process_init

from celery_locks import LockedTask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: A job in the journal, which all processes append to: one write of this length is never torn.
RUN = struct.Struct("qqqqqdd")
MICRO = 1_000_000
#: Added to the time in a ticket that was called while its message was on its way.
AWAY = 4 * 10**15
#: Seconds longer than any line here lasts: what is measured is the line, not countdowns that end before it does.
PATIENT = 3600

app = Celery("contended")
app.conf.update(
    broker_url=os.environ.get("BENCHMARK_BROKER"),
    lock_store=os.environ.get("BENCHMARK_LOCKS"),
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


class Run(NamedTuple):
    """One job while it had its key, by two clocks.

    `came`: the microseconds at which it last came to a slot. `met`: those at which its place in line begins, else 0.
    """

    job: int
    process: int
    came: int
    met: int
    requeues: int
    began: float
    ended: float


class Journal:
    """What the jobs of a round have written. Monotonic time is one clock for all processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clear()

    def clear(self) -> None:
        self.path.write_bytes(b"")

    def done(self) -> int:
        return self.path.stat().st_size // RUN.size

    def runs(self) -> list[Run]:
        """In the order in which they began."""
        runs = [Run(*each) for each in RUN.iter_unpack(self.path.read_bytes())]
        return sorted(runs, key=lambda run: run.began)


def seconds(runs: list[Run]) -> float:
    """From the first start to the last end."""
    return max(run.ended for run in runs) - runs[0].began


_here: dict[str, Any] = {}


@worker_process_init.connect
def _begin(**_: object) -> None:
    _here["journal"] = os.open(os.environ["BENCHMARK_NOTES"], os.O_WRONLY | os.O_APPEND)
    _here["client"] = redis.Redis.from_url(os.environ["BENCHMARK_LOCKS"])


@task_prerun.connect
def _came(task: Any, **_: object) -> None:
    """What the message says of the job's way here; a job under a lock is not shown it."""
    _here["came"] = int(time.time() * MICRO)
    _here["headers"], _here["retries"] = task.request.headers or {}, task.request.retries


def _work(job: int, lasts: float) -> None:
    began = time.monotonic()
    if lasts:
        time.sleep(lasts)
    requeues, met = _way(_here["headers"])
    os.write(_here["journal"], RUN.pack(job, os.getpid(), _here["came"], met, requeues, began, time.monotonic()))


def _way(headers: Mapping[str, Any]) -> tuple[int, int]:
    """How often the job went back, and when it first found its key taken: a ticket begins with that."""
    since = headers.get("lock_ticket", "").partition("-")[0] or headers.get("first_met", 0)
    return headers.get("lock_requeues", _here["retries"]), int(since) % AWAY


@app.task
def plain(job: int, _key: str, lasts: float) -> None:
    _work(job, lasts)


@app.task(base=LockedTask, lock_key="{key}")
def locked(job: int, key: str, lasts: float) -> None:  # noqa: ARG001 - it is for the lock
    _work(job, lasts)


@app.task(base=LockedTask, lock_key="{key}", lock_wait=1)
def waiting(job: int, key: str, lasts: float) -> None:  # noqa: ARG001 - it is for the lock
    _work(job, lasts)


@app.task(base=LockedTask, lock_key="{key}", lock_countdown=PATIENT)
def patient(job: int, key: str, lasts: float) -> None:  # noqa: ARG001 - it is for the lock
    _work(job, lasts)


@app.task(bind=True, max_retries=None)
def retried(self: Any, job: int, key: str, lasts: float) -> None:
    """As it is written by hand, but for the header, which tells when a job first found its key taken."""
    lock = _here["client"].lock(key, timeout=30)
    if not lock.acquire(blocking=False):
        raise self.retry(
            countdown=1, headers={"first_met": _here["headers"].get("first_met", int(time.time() * MICRO))}
        )
    try:
        _work(job, lasts)
    finally:
        lock.release()


@app.task
def in_slot(job: int, key: str, lasts: float) -> None:
    with _here["client"].lock(key, timeout=30):
        _work(job, lasts)
