"""A job whose function may be locked by settings alone, and what a job waits for."""

from __future__ import annotations

from typing import Any

from rq.job import Job

from celery_locks.rq.house import House
from celery_locks.rq.plans import name_of, plan_for, wrapped
from celery_locks.rq.taking import finished, performed
from celery_locks.rq.waits import FIELD, Wait, wait_of


class LockedJob(Job):
    """A job that also does what `lock_tasks` says of its function: no line of the function need know of locks.

    `rq worker -w celery_locks.rq.LockedWorker` makes its jobs of this class. Those that enqueue need not.
    """

    #: What is known of its waiting, as it was when it was fetched.
    lock_waits: Wait | None = None

    def restore(self, raw_data: Any) -> Any:
        """Read what it waited for with all else that is read of it."""
        super().restore(raw_data)
        self.lock_waits = Wait.from_json(raw_data.get(FIELD.encode()))

    def _execute(self) -> Any:
        function = self.func
        if self.worker_name == "sync" or any(hasattr(each, "lock_options") for each in wrapped(function)):
            return super()._execute()
        plan = plan_for(House.of(self.connection), name_of(self), function, None)
        if plan is None:
            return super()._execute()
        return performed(self, plan, lambda: finished(super(LockedJob, self)._execute()))


def waiting(job: Job) -> Wait | None:
    """What a job waits for: its key, who had it, how often it has gone back, since when. None when it does not wait.

    What it says is of when the job went back; `celery-locks show KEY` says who has the key now.
    """
    return wait_of(job) if job.get_status() in ("scheduled", "queued") else None
