"""A workflow holds its key from its first task to its last, whatever its workers do, and no rival gets in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chain, group

from celery_locks import baton
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.acceptance.rivals import QUEUE, Rival, freed_within, judge, members, sending, step
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.conftest import System
    from tests.acceptance.nodes import Worker

pytestmark = [only_redis, pytest.mark.usefixtures("crew")]


@pytest.fixture
def office(desk: Office) -> Office:
    """The desk, which sends workflows too."""
    return sending(desk, desk.vault.url)


def test_a_chain_holds_its_key_to_its_end(office: Office) -> None:
    """Tasks that know nothing of locks, one with a call of its own, and one locked by the same key: one lease."""
    with Rival(office) as rival:
        rival.has_it_again()
        tasks = chain(step(office, "a"), step(office, "b", "step_called"), step(office, "c", "step_locked"))
        assert baton(tasks, office.key, ttl=5).delay().get(timeout=PATIENCE) == "c"
        rival.has_it_again()
    judge(office, ["a", "b", "c"])
    assert [each["job"] for each in office.journal.events("called", office.key)] == ["b"]


def test_a_first_task_that_was_not_to_begin_late_holds_it_for_the_next(office: Office) -> None:
    """Its message would have expired by the time that the next one comes."""
    with Rival(office) as rival:
        tasks = chain(step(office, "a"), step(office, "b").set(countdown=5))
        assert baton(tasks, office.key, ttl=5, travel=60).apply_async(expires=4).get(timeout=PATIENCE) == "b"
        rival.has_it_again()
    judge(office, ["a", "b"])


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


def test_a_task_of_a_group_that_is_tried_again_later_keeps_it(office: Office, tmp_path: Path) -> None:
    """For longer than a ttl, while the other one ends in its own process, which counts on no more than that."""
    door = tmp_path / "door"
    with Rival(office) as rival:
        header = group(step(office, "b", "step_retried", countdown=6), step(office, "b", door=str(door)))
        result = baton(step(office, "a") | header | step(office, "c"), office.key, ttl=3).delay()
        office.wait_for_messages("b", 3)
        door.touch()
        assert result.get(timeout=PATIENCE) == "c"
        rival.has_it_again()
    judge(office, ["a", "b", "b", "b", "c"])


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
