"""A `celery worker` as a private process, and the names under which pytest-celery asks for one.

pytest-celery's clusters, nodes and `celery_setup` take any object that answers as its containers do. That fits
whatever needs a running system and an app that talks to it. A test that stops, kills or starts workers of several
kinds speaks to `Worker` itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import psutil

from tests.servers.process import PrivateServer
from tests.servers.programs import Program
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.acceptance.journal import Journal

ROOT = Path(__file__).parents[2]
#: A worker is started hundreds of times, and no prompt is ever asked of it.
PROMPTLESS = Path(__file__).parent / "promptless"
#: A worker that does not greet the others is ready sooner.
QUIET = ("--without-gossip", "--without-mingle")


class Worker(PrivateServer):
    """One worker with its pool, in a process group of its own. Ready when its log says so."""

    program: ClassVar[Program] = Program("celery", apt="", brew="")
    patience = 45

    def __init__(  # noqa: PLR0913 - a worker's command line has that many
        self,
        name: str,
        conf: Mapping[str, Any],
        journal: Journal,
        *,
        pool: str = "prefork",
        concurrency: int | str = 2,
        queues: Iterable[str] = ("celery",),
        module: str = "tests.acceptance.tasks",
        environment: Mapping[str, str] | None = None,
        arguments: Iterable[str] = QUIET,
    ) -> None:
        super().__init__()
        self.name = f"{name}@acceptance"
        self._module = module
        # Two numbers are the most and the least that the pool may have.
        size = ["--autoscale", concurrency] if isinstance(concurrency, str) else ["-c", str(concurrency)]
        self._options = ["-P", pool, *size, "-n", self.name, "-Q", ",".join(queues), *arguments]
        self._environment = {
            "PYTHONPATH": f"{PROMPTLESS}{os.pathsep}{ROOT}",
            "C_FORCE_ROOT": "1",  # pickle is among what the jobs are sent with, and the tests may run as root
            "ACCEPTANCE_CONF": json.dumps(dict(conf)),
            "ACCEPTANCE_JOURNAL": str(journal.path),
            **(environment or {}),
        }
        self._log_began = 0

    def __repr__(self) -> str:
        return f"worker {self.name}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", self._module, "worker", *self._options, "-l", "INFO"]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self._environment}

    def spawn(self) -> None:
        """Start it without waiting, so that several can start side by side."""
        self._log_began = self._log.stat().st_size if self._log.exists() else 0
        self._spawn()

    def start(self) -> None:
        """Start it, unless `spawn` has, and wait until it takes jobs."""
        if not self.is_alive():
            self.spawn()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it takes jobs."""
        with self._log_shown():
            wait_until(self._is_ready, f"{self} to be ready", self.patience, interval=0.05)

    @contextlib.contextmanager
    def _log_shown(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its log ends:\n{self.log_tail(200)}") from None

    def answers(self) -> bool:
        return f"{self.name} ready." in self.log()

    def log(self) -> str:
        """What it has written since its last start."""
        return self._log.read_bytes()[self._log_began :].decode(errors="replace")

    def children(self) -> set[int]:
        """The processes of its pool."""
        return {child.pid for child in psutil.Process(self.pid).children()}

    def wait_until_ended(self, timeout: float = 60) -> int:
        """Its exit code, once it ends by itself."""
        process = self._process
        assert process is not None
        with self._log_shown():
            try:
                wait_until(lambda: process.poll() is not None, f"{self} to end", timeout)
            except TimeoutError:
                self._say_where_it_is()
                raise
        return process.returncode

    def _say_where_it_is(self) -> None:
        """Have it write the stacks of its threads to its log, as Celery's workers do when they are sent that signal."""
        os.kill(self.pid, signal.SIGUSR1)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: "LOCAL VARIABLES" in self.log(), "its stacks", 10)

    def stop(self) -> None:
        """Ask it to finish its jobs and end."""
        if self.is_alive():
            # Only the main process: asked themselves, the processes of the pool would drop their jobs.
            os.kill(self.pid, signal.SIGTERM)
            self.wait_until_ended()


def start_all(workers: Iterable[Worker]) -> None:
    """Start them side by side."""
    workers = list(workers)
    for worker in workers:
        worker.spawn()
    for worker in workers:
        worker.wait_until_ready()


class Container:
    """A private process under the names that pytest-celery's nodes use for a container."""

    def __init__(self, server: PrivateServer, url: str = "") -> None:
        self._server = server
        self.celeryconfig = {"url": url, "host_url": url}
        self.name = self.id = repr(server)

    @property
    def status(self) -> str:
        """As Docker says it."""
        return "running" if self._server.is_alive() else "exited"

    def ready(self) -> bool:
        return self._server.answers()

    def logs(self) -> str:
        return self._server.log() if isinstance(self._server, Worker) else self._server.log_tail(10_000)

    def kill(self, signal: str | int) -> None:  # noqa: ARG002 - the name is pytest-celery's; SIGKILL is what it sends
        self._server.kill()

    def restart(self, timeout: float) -> None:  # noqa: ARG002 - the server has a patience of its own
        self._server.restart()

    def reload(self) -> None:
        """A container's state is read again; a process is always asked."""

    def teardown(self) -> None:
        """The process outlives the test."""
