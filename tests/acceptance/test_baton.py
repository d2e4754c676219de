"""A workflow holds its key from its first task to its last, whatever its workers do, and no rival gets in between."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, group

from celery_locks import baton, install
from tests.acceptance.nodes import Worker
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Self

    from tests.acceptance.conftest import System
    from tests.acceptance.journal import Run

pytestmark = only_redis

QUEUE = "workflows"


@pytest.fixture(scope="module", autouse=True)
def crew(system: System) -> Iterator[Worker]:
    """A worker of two processes for all workflows that nobody kills."""
    worker = Worker("crew", system.conf, system.journal, queues=[QUEUE], module="tests.acceptance.workflows")
    with contextlib.closing(worker):
        worker.start()
        yield worker


class Rival:
    """Somebody who wants the key all the time, and writes down when it has it."""

    def __init__(self, office: Office, key: str = "") -> None:
        self._office = office
        self._key = key or office.key
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


@pytest.fixture
def office(desk: Office) -> Office:
    """The desk, which sends workflows too."""
    desk.app.conf.lock_store = desk.vault.url
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


def test_a_chain_holds_its_key_to_its_end(office: Office) -> None:
    """Tasks that know nothing of locks, one with a call of its own, and one locked by the same key: one lease."""
    with Rival(office) as rival:
        rival.has_it_again()
        tasks = chain(step(office, "a"), step(office, "b", "step_called"), step(office, "c", "step_locked"))
        assert baton(tasks, office.key, ttl=5).delay().get(timeout=PATIENCE) == "c"
        rival.has_it_again()
    judge(office, ["a", "b", "c"])
    assert [each["job"] for each in office.journal.events("called", office.key)] == ["b"]


def test_a_chord_holds_its_key_together(office: Office, tmp_path: Path) -> None:
    """The tasks of a group run at the same time under the one lease, which lasts until the task behind them is done."""
    door = tmp_path / "door"
    with Rival(office) as rival:
        header = group(step(office, "b", door=str(door)), step(office, "b", door=str(door)) | step(office, "c"))
        result = baton(step(office, "a") | header | step(office, "d"), office.key, ttl=5).delay()
        office.journal.wait_for_start(office.key, "b", times=2)
        door.touch()
        assert result.get(timeout=PATIENCE) == "d"
        rival.has_it_again()
    runs = judge(office, ["a", "b", "b", "c", "d"])
    assert runs[2].start < runs[1].end


@pytest.mark.parametrize("errback", ["undo", "undo_called"])
def test_an_errback_has_the_key_before_anybody_else(office: Office, errback: str) -> None:
    """What undoes a workflow that failed runs under its key, whether it is sent or called, and the key is free then."""
    undo = office.app.signature(errback, kwargs={"key": office.key, "job": "undone"}).set(queue=QUEUE)
    with Rival(office) as rival:
        tasks = chain(step(office, "a"), step(office, "b", "step_fails"), step(office, "never"))
        baton(tasks, office.key, ttl=60).apply_async(link_error=undo)
        office.journal.wait_for_start(office.key, "undone")
        rival.has_it_again()
    assert len(judge(office, ["a", "b", "undone"])) == 3


def test_several_keys_are_held_to_the_end(office: Office) -> None:
    """None of them is anybody else's in between, over a retry, a replacement and an errback that has them all last."""
    second = f"{office.key}:second"
    undo = office.app.signature("undo", kwargs={"key": office.key, "job": "undone"}).set(queue=QUEUE)
    with Rival(office) as rival, Rival(office, second) as other:
        for each in (rival, other):
            each.has_it_again()
        kinds = {"a": "step_retried", "b": "step_replaced", "c": "step_fails", "never": "step"}
        tasks = chain(*(step(office, job, task) for job, task in kinds.items()))
        baton(tasks, [second, office.key], ttl=60).apply_async(link_error=undo)
        office.journal.wait_for_start(office.key, "undone")
        for each in (rival, other):
            each.has_it_again()
    ours = judge(office, ["a", "a", "b", "b replaced", "b again", "c", "undone"])
    begin, end = ours[0].start, ours[-1].end
    assert [run for run in other.runs() if run.end > begin and run.start < end] == []


def test_retries_and_replacements_keep_it(office: Office) -> None:
    """A task that is tried again, one that is replaced by a chain, and one that waits for a lock of its own."""
    with Rival(office) as rival:
        kinds = {"a": "step_retried", "b": "step_replaced", "c": "step_locked_twice", "d": "step"}
        tasks = chain(*(step(office, job, task) for job, task in kinds.items()))
        with office.locks.lock(f"{office.key}:own"):
            result = baton(tasks, office.key, ttl=5).delay()
            office.journal.wait_for_start(office.key, "b again")
            office.wait_for_messages("c", 2)
        assert result.get(timeout=PATIENCE) == "d"
        rival.has_it_again()
    judge(office, ["a", "a", "b", "b replaced", "b again", "d"])
    assert office.journal.jobs(f"{office.key}:own") == ["c"]


def test_its_workers_are_killed(system: System, office: Office, hire: Callable[..., Worker], tmp_path: Path) -> None:
    """Killed between two tasks, while one runs, and right before the release: nobody gets in, or within one ttl.

    A message that is in a queue meanwhile keeps the key; a task that is delivered again takes it anew.
    """
    ttl, door = 1.5, tmp_path / "door"
    first, second = (
        hire(name, {"worker_prefetch_multiplier": 1}, queues=[name], module="tests.acceptance.workflows", concurrency=1)
        for name in ("first", "second")
    )
    first.start()
    tasks = chain(
        step(office, "a", queue="first"),
        step(office, "b", "step_late", queue="second", door=str(door)),
        step(office, "c", "step_dies", queue="second"),
    )
    with Rival(office) as rival:
        baton(tasks, office.key, ttl=ttl, travel=60).delay()
        office.journal.wait_for_runs(office.key, 1)
        with system.hub.client() as client:
            wait_until(lambda: client.llen("second"), "the message of the next to be in its queue", PATIENCE)
        assert office.locks.holder(office.key).owner.startswith("baton[")
        first.kill()
        second.start()
        office.journal.wait_for_start(office.key, "b")
        second.kill()
        freed_within(office, rival, ttl)
        door.touch()
        office.put_back(after=0)
        second.start()
        office.journal.wait_for_start(office.key, "c")
        second.wait_until_ended()
        freed_within(office, rival, ttl)
    a, b, again, c = members(office)
    assert [run.job for run in (a, b, again, c)] == ["a", "b", "b", "c"]
    assert a.fence == b.fence < again.fence == c.fence
    for begin, end in ((a.start, b.start), (again.start, c.end)):
        assert not [run for run in rival.runs() if begin < run.start < end]


def freed_within(office: Office, rival: Rival, ttl: float) -> None:
    """Nobody renews the lease that is there, which lasts for no longer than the ttl, and then the rival has the key."""
    left = office.locks.holder(office.key)
    assert left is None or left.remaining <= ttl
    rival.has_it_again()
