"""Asks the workers of an app what holders are doing: that no store knows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.cli.printing import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from celery_locks.owner import Owner

#: The time a thread gets beyond that of the workers, to be done with its connection.
GRACE = 1.0


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


class _Found(Exception):
    """No error: it ends the waiting for more answers."""


class Inquiry:
    """One question to all workers, however many holders it is about. It ends when each of their jobs was found."""

    def __init__(self, app: Any, owners: Iterable[Owner]) -> None:
        self._app = app
        # Another copy of a message, delivered again, has the same id and another process.
        self._wanted = {(owner.task_id, owner.pid) for owner in owners if owner.task_id is not None}
        self._jobs: dict[tuple[Any, Any], Job] = {}
        self.answered = 0
        self.trouble = ""

    def ask(self, patience: float) -> None:
        """Ask, and wait so long for answers, or for a broker that cannot be reached."""
        if not self._wanted:
            return
        # A broker that hangs would be waited for by Celery for as long as its transport likes.
        asking = threading.Thread(target=self._ask, args=(patience,), name="celery_locks-inquiry", daemon=True)
        asking.start()
        asking.join(patience + GRACE)
        if asking.is_alive() and not self.answered:
            self.trouble = "the broker did not answer"

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

    def _ask(self, patience: float) -> None:
        try:
            with self._app.connection_for_write() as connection:
                # By itself it would be tried for ever.
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=patience)
                inspect = self._app.control.inspect(timeout=patience, callback=self._heard, connection=connection)
                inspect.active(safe=True)
        except _Found:
            pass
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, and it may name a password
            self.trouble = f"the broker could not be asked ({type(error).__name__})"

    def _heard(self, body: Mapping[str, Any]) -> None:
        for worker, active in body.items():
            self.answered += 1
            for said in active if isinstance(active, list) else ():
                execution = said.get("id"), said.get("worker_pid")
                if execution in self._wanted:
                    self._jobs[execution] = Job.of(worker, said)
        if self._wanted <= self._jobs.keys():
            raise _Found
