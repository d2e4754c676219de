"""Sends jobs that wait at the door of one worker, behind one that found their key taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.acceptance.office import PATIENCE

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from tests.acceptance.office import Office


def names(count: int) -> list[str]:
    return [f"job {number}" for number in range(count)]


def at_the_door(desk: Office, count: int, task: str = "line", *, queue: str, **options: Any) -> list[AsyncResult]:
    """The first job goes back to its queue; the others wait at the door of the worker, in this order."""
    first = desk.job("line", "job 0", queue=queue).apply_async()
    desk.wait_for_messages("job 0", 2)
    return [first, *(send(desk, task, name, queue=queue, **options) for name in names(count)[1:])]


def send(desk: Office, task: str, name: str, *, queue: str, **options: Any) -> AsyncResult:
    """A job that waits at the door."""
    result = desk.job(task, name, queue=queue).apply_async(**options)
    desk.wait_until_waiting(result)
    return result


def requeues(desk: Office, count: int) -> list[int]:
    return [run.facts["requeues"] for run in desk.journal.wait_for_runs(desk.key, count, PATIENCE)]
