"""Workers that make seconds of what takes half a minute, and wait where a moment passes."""

from __future__ import annotations

from pathlib import Path

from celery_locks.rq import LockedWorker, crowded
from tests.waiting import wait_until


class HastyWorker(LockedWorker):
    """Nobody stands aside for long."""

    crowded.LONGEST = 1.0


class PausedWorker(LockedWorker):
    """A job that has found its key taken goes back when a file says so."""

    def handle_job_retry(self, job, *args, **kwargs):
        path = Path(job.args[0], job.args[1])
        path.with_suffix(".going").touch()
        wait_until(path.with_suffix(".go").exists, "leave to go back", 30)
        return super().handle_job_retry(job, *args, **kwargs)
