"""Real `celery worker`, `celery beat` and `rq worker` processes: started, waited for, killed, stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .interrupts import undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

CELERY = (sys.executable, "-m", "celery", "-A", "example_project.app")
WORKER = ("worker", "--pool=prefork", "--loglevel=INFO", "--without-gossip", "--without-mingle", "--without-heartbeat")
BEAT = ("beat", "--loglevel=INFO")
RQ = (sys.executable, "-m", "rq.cli", "worker", "--worker-class", "celery_locks.rq.LockedWorker")


class StuckError(Exception):
    """What was waited for did not come, or a worker ended by itself."""


class Worker:
    """A worker with all its processes, or a `celery beat`: a process group of its own."""

    def __init__(self, name: str, command: tuple[str, ...], log: Path, settings: dict[str, str], ready: str) -> None:
        self.name = name
        self.log = log
        self._says_when_ready = ready
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                cwd=Path(__file__).parents[1],
                # What a killed worker leaves behind, it leaves among the show's own files.
                env=os.environ | settings | {"TMPDIR": str(log.parent)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ready(self) -> bool:
        """Whether it takes jobs, or leads or stands by: its log says so."""
        return re.search(self._says_when_ready, self.log.read_text(errors="replace")) is not None

    @property
    def pid(self) -> int:
        """Its main process."""
        return self._process.pid

    def last_lines(self, count: int = 15) -> str:
        """The end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])

    def alive(self) -> bool:
        """Whether its main process runs."""
        return self._process.poll() is None

    def ask_to_stop(self) -> None:
        """Begin a warm shutdown: the jobs it runs are finished first."""
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for it to end, that long at most."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to the main process and its pool processes alike: nothing is cleaned up, no job is handed back."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Crew:
    """The workers of one step. They stop when the `with` block ends: warm if all went well, else at once."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self._directory = directory
        self._settings = settings
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        try:
            if failure is None:
                self._stop_warm(seconds=5)
        finally:
            with undisturbed():
                for worker in self._workers.values():
                    worker.kill()

    def hire(self, *names: str, processes: int) -> None:
        """Start workers with these names, each with so many pool processes."""
        with undisturbed():
            for name in names:
                self._start(
                    name, (*CELERY, *WORKER, f"--hostname={name}", f"--concurrency={processes}"), f"{name} ready\\."
                )

    def schedule(self, *names: str) -> None:
        """Start beats with these names."""
        with undisturbed():
            for name in names:
                self._start(name, (*CELERY, *BEAT), "beat: we lead|beat: standing by")

    def hire_rq(self, *names: str, url: str, queue: str) -> None:
        """Start RQ workers with these names, each of which runs one job at a time."""
        with undisturbed():
            for name in names:
                self._start(name, (*RQ, "--url", url, "--name", name, queue), "Listening on")

    def named(self, pid: int | None) -> str | None:
        """What the worker or beat of this process is called, if it is one of these."""
        return next((worker.name for worker in self._workers.values() if worker.pid == pid), None)

    def fire(self, name: str) -> None:
        """Kill this worker, all of it."""
        self._workers[name].kill()
        del self._workers[name]

    def ready(self) -> bool:
        """Whether every worker takes jobs, and every beat leads or stands by."""
        return all(worker.ready() for worker in self._workers.values())

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float, pause: float = 0.02) -> None:
        """Return once the condition holds.

        Raises `StuckError`, with what the workers wrote last, after so many seconds or when a worker ends by itself.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if dead := [worker.name for worker in self._workers.values() if not worker.alive()]:
                raise StuckError(f"{', '.join(dead)} ended while waiting for {what}{self._logs()}")
            if time.monotonic() > deadline:
                raise StuckError(f"{what}: not within {seconds:g} s{self._logs()}")
            time.sleep(pause)

    def _start(self, name: str, command: tuple[str, ...], ready: str) -> None:
        self._workers[name] = Worker(name, command, self._directory / f"{name}.log", self._settings, ready)

    def _stop_warm(self, seconds: float) -> None:
        for worker in self._workers.values():
            worker.ask_to_stop()
        for worker in self._workers.values():
            worker.wait(seconds)

    def _logs(self) -> str:
        return "".join(f"\n--- {worker.name}\n{worker.last_lines()}" for worker in self._workers.values())
