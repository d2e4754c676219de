"""Somebody who wants the key of a workflow all the time, and the judge of whether it was had in between."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

from celery_locks import install
from tests.acceptance.office import PATIENCE, Office
from tests.waiting import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.acceptance.journal import Run

#: Where workflows go that nobody kills.
QUEUE = "workflows"


class Rival:
    """Somebody who wants the key all the time, and writes down when it has it.

    `rest`: seconds for which it leaves the key to others, where no line sees to it that they get it.
    """

    def __init__(self, office: Office, key: str = "", *, rest: float = 0.0) -> None:
        self._office = office
        self._key = key or office.key
        self._rest = rest
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go, name="rival")

    def _go(self) -> None:
        lock = self._office.locks.lock(self._key, ttl=30)
        for number in itertools.count():
            if self._is_over.is_set():
                return
            if lock.acquire(timeout=0.3):
                with self._office.journal.running(self._key, f"rival {number}", lock.fence):
                    self._is_over.wait(0.005)
                lock.release()
                self._is_over.wait(self._rest)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def runs(self) -> list[Run]:
        return [run for run in self._office.journal.runs(self._key) if run.job.startswith("rival")]

    def has_it_again(self) -> None:
        """Until it has the key once more than now."""
        seen = len(self.runs())
        wait_until(lambda: len(self.runs()) > seen, "the rival to have the key again", PATIENCE)


def sending(desk: Office, store: str) -> Office:
    """The desk, which sends workflows too."""
    desk.app.conf.lock_store = store
    install(desk.app)
    return desk


def step(office: Office, job: str, task: str = "step", *, queue: str = QUEUE, **arguments: Any) -> Any:
    return office.job(task, job, queue=queue, **arguments)


def members(office: Office) -> list[Run]:
    return [run for run in office.journal.runs(office.key) if not run.job.startswith("rival")]


def judge(office: Office, jobs: list[str], *, fences: int = 1) -> list[Run]:
    """These ran, in this order, under so many fences, and nobody else between the first and the last."""
    runs = office.journal.wait_for_runs(office.key, len(jobs))
    ours = members(office)
    assert [run.job for run in ours] == jobs
    begin, end = ours[0].start, max(run.end for run in ours)
    between = [run for run in runs if run.job.startswith("rival") and begin < run.start < end]
    assert between == [], (begin, end)
    assert len({run.fence for run in ours}) == fences, ours
    return ours


def freed_within(office: Office, rival: Rival, ttl: float) -> None:
    """Nobody renews the lease that is there, which lasts for no longer than the ttl, and then the rival has the key."""
    left = office.locks.holder(office.key)
    assert left is None or left.remaining <= ttl
    rival.has_it_again()
