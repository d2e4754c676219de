"""Where a test of RQ takes place: a private Redis that keeps its data, and workers as an operator starts them."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from redis import Redis
from rq import Queue

from celery_locks import Locks
from tests.judging import faults, recorded
from tests.servers.process import _end_with_us
from tests.waiting import wait_until

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from rq.job import Job

    from tests.judging import Stay
    from tests.servers.redis import RedisServer

ROOT = Path(__file__).parents[2]
LOCKED = "celery_locks.rq.LockedWorker"
#: A machine may be busy.
PATIENCE = 30.0
_numbers = itertools.count(1)


class Hand:
    """A worker: its main process, and the one that it has made for a job."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*_end_with_us(), *command], env=env, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
            )
        self.pid = self.process.pid

    def said(self) -> str:
        return self.log.read_text()

    def horse_is(self, pid: int) -> bool:
        """Whether this is the process of its job."""
        return pid in {each.pid for each in psutil.Process(self.pid).children()}

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        """Now, with all that it has made."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.kill()
        self.process.wait()


class Yard:
    """One test's part of it: a queue and a folder of its own, whose name is its key."""

    def __init__(self, server: RedisServer, folder: Path, queue: str | None = None) -> None:
        self.server = server
        self.folder = folder
        self.key = str(folder)
        self.connection = Redis.from_url(server.url)
        self.queue = Queue(queue or f"q{next(_numbers)}", connection=self.connection)
        self.locks = Locks(server.url)

    @contextlib.contextmanager
    def workers(
        self, count: int = 2, cls: str = LOCKED, *words: str, what: str = "worker", **env: str
    ) -> Iterator[list[Hand]]:
        """So many workers on its queue, ended at the end; or pools."""
        command = [sys.executable, "-m", "rq.cli", what, "-u", self.server.url, "-w", cls, *words, self.queue.name]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_LOCK")}
        given = {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **env}
        hands = []
        try:
            while len(hands) < count:
                hands.append(Hand(command, given, self.folder / f"worker{next(_numbers)}.log"))
            for hand in hands:
                wait_until(lambda hand=hand: "Listening on" in hand.said(), f"a worker: {hand.said()}", PATIENCE)
            yield hands
        except BaseException:
            for hand in hands:
                print(hand.said()[-8000:])  # noqa: T201 - pytest shows it where a test fails
            raise
        finally:
            for hand in hands:
                hand.end()

    def send(self, function: Callable[..., Any], name: str, *args: Any, **options: Any) -> Job:
        return self.queue.enqueue(function, self.key, name, *args, **options)

    def began(self, name: str) -> int:
        """The process in which this job runs."""
        path = self.folder / f"{name}.began"
        wait_until(lambda: path.exists() and path.read_text(), f"the begin of {name}", PATIENCE)
        return int(path.read_text())

    def enough(self, name: str) -> None:
        (self.folder / f"{name}.enough").touch()

    def becomes(self, job: Job, *statuses: str) -> str:
        """How this job fares, once it is one of these."""

        def status() -> str | None:
            now = job.get_status().value
            return now if now in statuses else None

        try:
            return wait_until(status, f"{job.id} to be {statuses}", PATIENCE)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it is {job.get_status()}") from None

    def waits(self, job: Job) -> None:
        """Until a job has found its key taken, and waits."""
        self.becomes(job, "scheduled")

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def stays(self) -> list[Stay]:
        return recorded(self.folder)

    def who(self) -> list[str]:
        """The names of the jobs that have run, in their order."""
        return [stay.owner.partition("-")[0] for stay in self.stays()]

    def were_apart(self, count: int) -> None:
        """So many jobs have run, one at a time, with growing fences."""
        stays = wait_until(lambda: len(found := self.stays()) >= count and found, f"{count} stays", PATIENCE)
        assert len(stays) == count
        assert faults(stays) == []
