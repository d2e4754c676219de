"""Workers that keep the locks of their jobs, and attend to those that wait."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import TimeoutError as Unanswered
from rq.job import Job
from rq.worker import SimpleWorker, Worker

from celery_locks import closing
from celery_locks.closing import SOON, Closing
from celery_locks.events import happen_in
from celery_locks.rq import horse, losses
from celery_locks.rq.again import GoesBack
from celery_locks.rq.attending import Attending
from celery_locks.rq.horse import Mail
from celery_locks.rq.house import House
from celery_locks.rq.job import LockedJob
from celery_locks.rq.stable import Stable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rq.queue import Queue

logger = logging.getLogger("celery_locks.rq")

#: What a job is told that waits is tried so long, in seconds, while RQ's Redis cannot be reached. It holds nothing.
PATIENCE = 600.0
PAUSE = 0.5

if TYPE_CHECKING:
    _Worker = Worker
else:
    _Worker = object


class Locking(_Worker):
    """What each of our workers does besides."""

    _attending: Attending | None = None
    _stable: Stable | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.job_class is Job:
            self.job_class = LockedJob
        elif not issubclass(self.job_class, LockedJob):
            logger.warning(
                "%s is no LockedJob: what lock_tasks says of its functions is not done; derive it from"
                " celery_locks.rq.LockedJob",
                self.job_class.__qualname__,
            )

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        """Begin, before the first job is taken and anything is forked."""
        happen_in(self.name)
        House.of(self.connection).open_all()
        closing.adopt(Closing())
        mail = Mail()
        self._attending = Attending(self.connection, self.queue_names(), mail)
        self._stable = self._made_stable(mail)
        horse.belong(mail, is_horse=False)
        super().bootstrap(*args, **kwargs)
        _speak_beside(self.log)
        self._attending.start()

    def _made_stable(self, mail: Mail) -> Stable | None:  # noqa: ARG002 - others need it
        losses.remember()
        return Stable.forked()

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run a job in a process of its own, whose leases the main one keeps."""
        if self._stable and horse.mail:
            self._stable.enter()
            horse.belong(horse.mail, is_horse=True)
        super().main_work_horse(job, queue)

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, *args: Any, **kwargs: Any) -> Any:
        """Take the next job. In burst mode, which has no timeout, jobs that wait for their keys are waited for."""
        found = super().dequeue_job_and_maintain_ttl(timeout, *args, **kwargs)
        has_some = True
        while found is None and timeout is None and has_some:
            # One that is called meanwhile is on its queue when that is looked at once more.
            has_some = self._attending is not None and self._has_waiting(self._attending)
            found = super().dequeue_job_and_maintain_ttl(timeout, *args, **kwargs)
        return found

    def _has_waiting(self, attending: Attending) -> bool:
        try:
            has_some = attending.has_some()
        except (Unreachable, Unanswered):
            has_some = True
        if has_some:
            time.sleep(PAUSE)
        return has_some

    def handle_job_retry(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> Any:
        """Put a job back that has not ended, however long that takes; nobody else knows that it is to come again."""
        execution = getattr(self, "execution", None)
        known = f"{job.id}:{execution.id}" if execution else ""

        def put() -> Any:
            if execution is not None:
                self.execution = execution
            return super(Locking, self).handle_job_retry(job, queue, *args, **kwargs)

        done = self._surely(
            put,
            lambda: (
                bool(known) and job.started_job_registry.connection.zscore(job.started_job_registry.key, known) is None
            ),
        )
        horse.tell(waits=job.origin)
        return done

    def handle_execution_ended(self, *args: Any, **kwargs: Any) -> None:
        """Note when it ended, also while RQ's Redis is being restarted."""
        self._surely(lambda: super(Locking, self).handle_execution_ended(*args, **kwargs), lambda: False)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Handle what a job raised; not what says that it waits."""
        if not isinstance(exc_info[1], GoesBack):
            super().handle_exception(job, *exc_info)

    def handle_job_failure(self, job: Job, *args: Any, **kwargs: Any) -> Any:
        """Say so if it failed because its process was ended for its lease."""
        if "exc_string" in kwargs:
            kwargs["exc_string"] = losses.explained(job.id, kwargs["exc_string"])
        done = super().handle_job_failure(job, *args, **kwargs)
        if isinstance(sys.exc_info()[1], GoesBack):
            horse.tell(waits=job.origin)
        return done

    def handle_warm_shutdown_request(self) -> None:
        """Call back who waits in a slot: what runs is waited for, and not what waits."""
        if closing.mine:
            closing.mine.begin(SOON)
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]

    def teardown(self) -> None:
        """End, after the last job: nobody here comes any more when called, and what a dead process held is freed."""
        if not self.is_horse:
            if self._stable:
                self._stable.close()
            if self._attending:
                self._attending.close()
            horse.belong(None, is_horse=False)
            closing.adopt(Closing())
        super().teardown()  # type: ignore[no-untyped-call]

    def _surely(self, step: Callable[[], Any], is_done: Callable[[], bool]) -> Any:
        """Do it, and again while RQ's Redis cannot be reached, unless it was done and only its answer was lost."""
        until, tries = time.monotonic() + PATIENCE, 0
        while True:
            try:
                return None if tries and is_done() else step()
            except (Unreachable, Unanswered) as error:  # noqa: PERF203 - it is tried until it is done
                if time.monotonic() > until:
                    raise
                if not tries:
                    logger.warning("RQ's Redis cannot be reached, trying again: %s", error)
                tries += 1
                time.sleep(PAUSE)


def _speak_beside(theirs: logging.Logger) -> None:
    """Have our lines appear where RQ's worker writes its own, of the same levels, unless somebody has set up logging.

    `rq worker` sets up its own logger alone: of ours only warnings would be seen.
    """
    ours = logging.getLogger("celery_locks")
    if not ours.hasHandlers():
        ours.handlers, ours.propagate = [*theirs.handlers], theirs.propagate
        if ours.level == logging.NOTSET:
            ours.setLevel(theirs.level)


class LockedWorker(Locking, Worker):
    """RQ's worker, which forks a process for each job. It beats for the leases of those processes itself."""


class LockedSimpleWorker(Locking, SimpleWorker):
    """RQ's worker that runs jobs in its own process: a thread beats, which a C call may starve."""

    def _made_stable(self, mail: Mail) -> Stable | None:  # noqa: ARG002 - there is no other process
        return None
