"""Asks the workers of an app what holders are doing: that no store knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.cli.printing import moment
from celery_locks.cli.question import Answered, Question

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from celery_locks.owner import Owner


class Job(NamedTuple):
    """A running job as its worker tells it, with its arguments as Celery shows them."""

    task: str
    args: str
    kwargs: str
    worker: str
    pid: int
    started: str | None

    @classmethod
    def of(cls, worker: str, said: Mapping[str, Any]) -> Job:
        """What a worker says of one of its active tasks."""
        started = said.get("time_start")
        return cls(
            said["name"], str(said["args"]), str(said["kwargs"]), worker, said["worker_pid"], moment(started or None)
        )


class Inquiry(Question):
    """One question to all workers, however many holders it is about. It ends when each of their jobs was found."""

    def __init__(self, app: Any, owners: Iterable[Owner]) -> None:
        super().__init__(app, "active", safe=True)
        # Another copy of a message, delivered again, has the same id and another process.
        self._wanted = {(owner.task_id, owner.pid) for owner in owners if owner.task_id is not None and not owner.is_rq}
        self._jobs: dict[tuple[Any, Any], Job] = {}

    def ask(self, patience: float) -> None:
        """Ask, unless no holder is a job."""
        if self._wanted:
            super().ask(patience)

    def heard(self, worker: str, said: Any) -> None:
        """Note those that are meant, until all are found."""
        for each in said if isinstance(said, list) else ():
            execution = each.get("id"), each.get("worker_pid")
            if execution in self._wanted:
                self._jobs[execution] = Job.of(worker, each)
        if self._wanted <= self._jobs.keys():
            raise Answered

    def job(self, owner: Owner) -> Job | None:
        """What this holder is doing, if a worker said it."""
        return self._jobs.get((owner.task_id, owner.pid))

    @property
    def outcome(self) -> str:
        """Why there is no job to show."""
        if self.trouble:
            return self.trouble
        if not self.answered:
            return "no worker answered: none is running, or they are cut off from this broker"
        why = "it has ended, or waits, or its worker is cut off"
        return f"none of the {self.answered} workers that answered runs it: {why}"
