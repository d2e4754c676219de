"""The jobs of `throughput`: they do nothing but note that they were done. A worker imports this."""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Any

import redis
from billiard.process import current_process
from celery import Celery
from celery.signals import worker_process_init

from celery_locks import LockedTask

#: What a pool process notes of a round, in shared memory: how many jobs, when the first and when the last was done.
NOTE = struct.Struct("qdd")
PROCESSES = 2
QUEUE = "jobs"

app = Celery("benchmarks")
app.conf.update(
    broker_url=os.environ.get("BENCHMARK_BROKER"),
    lock_store=os.environ.get("BENCHMARK_LOCKS"),
    task_ignore_result=True,
    task_default_queue=QUEUE,
    broker_connection_retry_on_startup=True,
)


class Notes:
    """The notes of all pool processes. To make one is to map the file; it costs a job no system call."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), PROCESSES * NOTE.size)

    @classmethod
    def made(cls, path: Path) -> Notes:
        path.write_bytes(bytes(PROCESSES * NOTE.size))
        return cls(path)

    def clear(self) -> None:
        self._memory[:] = bytes(PROCESSES * NOTE.size)

    def add(self, process: int) -> None:
        count, first, _ = NOTE.unpack_from(self._memory, process * NOTE.size)
        now = time.monotonic()
        NOTE.pack_into(self._memory, process * NOTE.size, count + 1, first or now, now)

    def done(self) -> int:
        return sum(count for count, _, _ in self._read())

    def seconds(self) -> float:
        """From the first job to the last, of any process. Monotonic time is one clock for all processes."""
        worked = [note for note in self._read() if note[0]]
        return float(max(last for _, _, last in worked) - min(first for _, first, _ in worked))

    def _read(self) -> list[tuple[Any, ...]]:
        return list(NOTE.iter_unpack(self._memory[:]))


_here: dict[str, Any] = {}


@worker_process_init.connect
def _begin(**_: object) -> None:
    _here["process"] = vars(current_process())["index"]
    _here["notes"] = Notes(Path(os.environ["BENCHMARK_NOTES"]))
    _here["client"] = redis.Redis.from_url(os.environ["BENCHMARK_LOCKS"])


def _note() -> None:
    _here["notes"].add(_here["process"])


@app.task
def plain(_key: str) -> None:
    _note()


@app.task(base=LockedTask, lock_key="{key}")
def locked(key: str) -> None:  # noqa: ARG001 - it is for the lock
    _note()


@app.task(base=LockedTask, lock_key="{key}", lock_heartbeat=False)
def locked_without_heartbeat(key: str) -> None:  # noqa: ARG001 - it is for the lock
    _note()


@app.task
def by_hand(key: str) -> None:
    with _here["client"].lock(key, timeout=30):
        _note()
