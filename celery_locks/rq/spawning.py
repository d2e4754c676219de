"""A worker that spawns a process for each job, instead of forking one."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from rq.worker import SpawnWorker
except ImportError:
    raise ImportError("LockedSpawnWorker needs RQ 2.2 or newer: pip install --upgrade rq") from None

from celery_locks.rq import losses
from celery_locks.rq.spawned import belong
from celery_locks.rq.stable import Stable
from celery_locks.rq.worker import Locking

if TYPE_CHECKING:
    from rq.job import Job
    from rq.queue import Queue

    from celery_locks.rq.horse import Mail


class LockedSpawnWorker(Locking, SpawnWorker):
    """RQ's worker that spawns a process for each job. It beats for the leases of those processes itself."""

    def _made_stable(self, mail: Mail) -> Stable | None:
        losses.remember()
        return Stable.spawned(mail)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run a job in a process of its own, which finds its main process by what that left in its environment."""
        belong()
        super().main_work_horse(job, queue)
