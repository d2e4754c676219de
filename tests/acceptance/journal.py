"""What the jobs of a test wrote down while they ran, and the judge who reads it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.judging import Stay, faults
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Run(NamedTuple):
    """One run of a job's body; no end: it was killed, or goes on."""

    key: str
    job: str
    start: float
    end: float | None
    fence: int
    pid: int
    facts: dict[str, Any]


class Journal:
    """One file, a line an event. A line is one write to a file opened for appending: lines never mix.

    Times are monotonic: all who write are on this machine. Whoever waits asks again and again: what was read once is
    kept, for a whole session writes to one file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._seen: dict[tuple[str, str], list[dict[str, Any]]] = {}

    @classmethod
    def of_this_process(cls) -> Journal:
        """The journal that a worker was told to write."""
        return cls(Path(os.environ["ACCEPTANCE_JOURNAL"]))

    def write(self, what: str, **facts: object) -> None:
        """Note one event."""
        line = json.dumps({"what": what, "at": time.monotonic(), "pid": os.getpid(), **facts}, default=repr)
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)

    @contextlib.contextmanager
    def running(self, key: str, job: str, fence: int, **facts: object) -> Iterator[None]:
        """Note start and end of the body."""
        run = os.urandom(8).hex()
        self.write("start", run=run, key=key, job=job, fence=fence, **facts)
        try:
            yield
        finally:
            self.write("end", run=run, key=key, job=job)

    def events(self, what: str, key: str) -> list[dict[str, Any]]:
        """Every event of a kind about a key, in the order they were written."""
        self._catch_up()
        return list(self._seen.get((what, key), ()))

    def _catch_up(self) -> None:
        """Read what was written since the last time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        # Whoever reads while a line is written may see a part of it.
        complete = text[: text.rfind(b"\n") + 1]
        self._read += len(complete)
        for line in complete.splitlines():
            event = json.loads(line)
            self._seen.setdefault((event["what"], event["key"]), []).append(event)

    def runs(self, key: str) -> list[Run]:
        """Every run under a key, by start."""
        # Read before the ends: whoever began after another's end is never seen without that end.
        starts = self.events("start", key)
        ends = {event["run"]: event["at"] for event in self.events("end", key)}
        runs = [
            Run(key, each["job"], each["at"], ends.get(each["run"]), each["fence"], each["pid"], each)
            for each in starts
        ]
        return sorted(runs, key=lambda run: run.start)

    def jobs(self, key: str) -> list[str]:
        """The jobs that ran under a key, in that order."""
        return [run.job for run in self.runs(key)]

    def wait_for_start(self, key: str, job: str, *, times: int = 1, timeout: float = 20) -> Run:
        """The run of a job that has just begun."""

        def started() -> list[Run]:
            found = [run for run in self.runs(key) if run.job == job]
            return found if len(found) >= times else []

        return wait_until(started, f"run {times} of job {job!r} under {key!r}; ran: {self.jobs(key)}", timeout)[
            times - 1
        ]

    def wait_for_runs(self, key: str, count: int, timeout: float = 20) -> list[Run]:
        """The runs under a key once so many are over."""

        def over() -> list[Run]:
            found = [run for run in self.runs(key) if run.end is not None]
            return found if len(found) >= count else []

        try:
            return wait_until(over, f"{count} runs under {key!r}", timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; there were {self.runs(key)}") from None


def judge(
    runs: Sequence[Run], jobs: Sequence[str] | None = None, ended: Callable[[Run], float | None] = lambda run: run.end
) -> None:
    """No two runs of a key together, each fence higher than the last, and each of `jobs` ran exactly once.

    `ended` tells when one without an end was killed.
    """
    assert runs, "nothing ran"
    stays = [Stay(run.start, math.inf if (end := ended(run)) is None else end, run.fence, run.job) for run in runs]
    assert faults(stays) == [], runs
    if jobs is not None:
        assert Counter(run.job for run in runs) == Counter(jobs)
