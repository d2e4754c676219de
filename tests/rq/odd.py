"""Workers that make seconds of what takes half a minute, and wait where a moment passes."""

from __future__ import annotations

from pathlib import Path

from celery_locks import signals
from celery_locks.rq import LockedWorker, crowded
from tests.waiting import wait_until


class HastyWorker(LockedWorker):
    """Nobody stands aside for long."""

    crowded.LONGEST = 1.0


class TellingWorker(LockedWorker):
    """What its main process hears is written into the folder whose name is the key."""

    @staticmethod
    def told(event):
        with Path(event.key, "told.txt").open("a") as file:
            file.write(f"{type(event).__name__} {event.task_id} {event.pid} {event.worker}\n")

    def bootstrap(self, *args, **kwargs):
        for each in (signals.freed, signals.woken):
            each.connect(self.told)
        super().bootstrap(*args, **kwargs)


class PausedWorker(LockedWorker):
    """A job that has found its key taken goes back when a file says so."""

    def handle_job_retry(self, job, *args, **kwargs):
        path = Path(job.args[0], job.args[1])
        path.with_suffix(".going").touch()
        wait_until(path.with_suffix(".go").exists, "leave to go back", 30)
        return super().handle_job_retry(job, *args, **kwargs)
