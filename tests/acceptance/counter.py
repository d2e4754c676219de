"""Where tests send jobs that are in their queue only once: the sender knows the tasks, as a web process does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_locks import LockedTask
from tests.acceptance.office import PATIENCE
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery import Celery
    from celery.result import AsyncResult

    from tests.acceptance.office import Office

QUEUE = "singles"
_LATE = {"acks_late": True, "reject_on_worker_lost": True}
#: What is special about each, in the worker and where it is sent from.
SINGLES: dict[str, dict[str, Any]] = {
    "single": {"lock_ttl": 60.0},
    "single_start": {"lock_unique": "until_start", "lock_ttl": 60.0},
    "single_open": {"lock_ttl": 60.0},
    "single_late": {"lock_ttl": 1.5, **_LATE},
    "single_late_start": {"lock_unique": "until_start", "lock_ttl": 1.5, **_LATE},
    "single_retry": {"lock_ttl": 60.0, "max_retries": 3},
    "single_fails": {"lock_ttl": 60.0},
    "single_reject": {"lock_ttl": 60.0, "acks_late": True},
    "single_hard": {"lock_ttl": 60.0, "time_limit": 1},
}
for _options in SINGLES.values():
    _options.setdefault("lock_unique", "until_done")


def _elsewhere(self: Any, key: str, job: str, **more: Any) -> None:
    raise NotImplementedError(f"{self.name} runs in a worker")


def declare_on(app: Celery, store: str) -> dict[str, Any]:
    """The tasks as their senders know them."""
    app.conf.lock_store = store
    options = {"base": LockedTask, "bind": True, "lock_key": "{key}", "shared": False}
    return {name: app.task(_elsewhere, name=name, **{**options, **own}) for name, own in SINGLES.items()}


class Counter:
    """The desk of a test, with the tasks at hand."""

    def __init__(self, desk: Office) -> None:
        self.desk = desk
        self.tasks = declare_on(desk.app, desk.vault.url)

    def send(self, task: str, job: str, *, options: dict[str, Any] | None = None, **arguments: Any) -> AsyncResult:
        """Send a job on this test's key."""
        return self.job(task, job, **arguments).apply_async(**{"queue": QUEUE, **(options or {})})

    def job(self, task: str, job: str, **arguments: Any) -> Any:
        """A job on this test's key, not yet sent."""
        return self.on(self.desk.key, task, job, **arguments)

    def on(self, key: str, task: str, job: str, **arguments: Any) -> Any:
        """A job on any key, not yet sent."""
        return self.tasks[task].si(key=key, job=job, **arguments).set(queue=QUEUE)

    def place(self, task: str) -> str:
        """The key of the place that the task's jobs have."""
        return f"unique:{task}:{self.desk.key}"

    def holder(self, task: str) -> str | None:
        """The id of the job that has it."""
        holding = self.desk.locks.holder(self.place(task))
        return holding.owner.partition("[")[2].partition("]")[0] if holding else None

    def is_freed(self, task: str, timeout: float = PATIENCE) -> bool:
        """Whether no job of the task has the place, now or soon. Says so by an error when none gives it back."""
        return wait_until(lambda: self.holder(task) is None, f"the place of {task} to be free", timeout)
