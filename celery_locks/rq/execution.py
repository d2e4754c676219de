"""One execution of a locked RQ job: what it claims, and what it does under its lease."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from rq import Retry

from celery_locks import telling
from celery_locks.attempt import Attempt
from celery_locks.lease import new_owner
from celery_locks.owner import OF_RQ
from celery_locks.rq import horse
from celery_locks.rq.again import GoesBack
from celery_locks.rq.place import Place
from celery_locks.rq.refused import Refused
from celery_locks.rq.waits import Room, Wait, wait_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rq.job import Job

    from celery_locks.guard import Refusal
    from celery_locks.lease import Claim, Lease
    from celery_locks.rq.plans import Plan

logger = logging.getLogger("celery_locks.rq")

#: The job whose execution goes on here, and what it has met so far.
_running: ContextVar[tuple[str, Wait] | None] = ContextVar("celery_locks_rq_job", default=None)
_before = telling.past_of


def is_running(job: Job) -> bool:
    """Whether a job's own execution is under way here: what it calls by hand is not it."""
    known = _running.get()
    return known is not None and known[0] == job.id


class Execution(Attempt):
    """One try of one job; or a call by hand, which has no job and nowhere to go back to."""

    _plan: Plan

    def __init__(self, plan: Plan, name: str, job: Job | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(plan)
        self._job = job
        self._known = _known_of(job) if job else None
        self._place = Place(plan, job) if job and plan.options.unique else None
        owner = new_owner(f"{OF_RQ}{name}[{job.id}]" if job else name)
        keys = plan.keys(args, kwargs)
        place = self._known.place if self._known else None
        ticket = self._ticket(keys, owner, place) if job and plan.lines_up else None
        self._claim = self._claimed(name, job.id if job else None, keys, owner, ticket)

    def run(self, body: Callable[[], Any]) -> Any:
        """The job's result; or what tells the worker that the job has not ended."""
        if self._job is None:
            return self._run(body)
        before = _running.set((self._job.id, self._known or Wait()))
        try:
            return self._run_in_slot(0, body)
        finally:
            _running.reset(before)

    def _work(self, lease: Lease, body: Callable[[], Any]) -> Any:
        if self._options.on_lost != "flag":
            self._interruption.heeds(lease)
        if self._job is not None:
            self._begins(self._job)
        with self._interruption:
            return body() if self._job is None or self._place is None else self._in_place(self._job, self._place, body)

    def _in_place(self, job: Job, place: Place, body: Callable[[], Any]) -> Any:
        place.begins()
        try:
            result = body()
        except BaseException:
            place.ends(comes_again=bool(job.retries_left))
            raise
        place.ends(comes_again=isinstance(result, Retry))
        return result

    def _begins(self, job: Job) -> None:
        self._waits_no_more(0)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        """What counts its waiting ends here, and no retry takes it along."""
        if self._known is None:
            return
        try:
            Room(job.origin, job.connection).forget(job)
        except RedisError as error:
            logger.warning("%s[%s] may be counted as waiting still: %s", self._claim.task, job.id, error)

    def _may_end(self) -> bool:
        return self._job is not None and horse.may_end(self._job)

    def _refused(self, refusal: Refusal, body: Callable[[], Any]) -> Any:
        refused = Refused(self._plan, self._claim, self._job, self._known or Wait())
        try:
            return refused.end(refusal, lambda lease: self._work(lease, body))
        except GoesBack:
            raise
        except BaseException:
            if self._job is not None:
                self._forget(self._job)
            raise
        finally:
            if self._place and refused.waits:
                self._place.waits()


def _known_of(job: Job) -> Wait | None:
    """What is known of its waiting. What cannot be told now counts for nothing, and fails no job."""
    try:
        return wait_of(job)
    except RedisError as error:
        logger.warning("how long %s has waited is not known, and counts anew: %s", job.id, error)
        return Wait()


def _past_of(claim: Claim) -> telling.Past:
    """What the job that runs here has met; nothing of another's claim, as in a keeper's thread."""
    known = _running.get()
    if known is None or known[0] != claim.task_id:
        return _before(claim)
    return telling.Past(known[1].requeues, known[1].waited or None)


telling.past_of = _past_of
