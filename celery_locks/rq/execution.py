"""One execution of a locked RQ job: what it claims, and what it does under its lease."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from rq import Retry

from celery_locks import closing, telling
from celery_locks.interrupt import Interruption, await_end, kill
from celery_locks.lease import Claim, new_owner
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
    from celery_locks.lease import Lease
    from celery_locks.rq.plans import Plan
    from celery_locks.ticket import Ticket

logger = logging.getLogger("celery_locks.rq")

#: The job whose execution goes on here, and what it has met so far.
_running: ContextVar[tuple[str, Wait] | None] = ContextVar("celery_locks_rq_job", default=None)
_before = telling.past_of


def is_running(job: Job) -> bool:
    """Whether a job's own execution is under way here: what it calls by hand is not it."""
    known = _running.get()
    return known is not None and known[0] == job.id


class Execution:
    """One try of one job; or a call by hand, which has no job and nowhere to go back to."""

    def __init__(self, plan: Plan, name: str, job: Job | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._plan = plan
        self._options = plan.options
        self._job = job
        self._known = wait_of(job) if job else None
        self._place = Place(plan, job) if job and plan.options.unique else None
        owner = new_owner(f"{OF_RQ}{name}[{job.id}]" if job else name)
        keys = plan.keys(args, kwargs)
        kind = (*plan.kind, keys[1:], self._options.at_least)
        job_id = job.id if job else None
        self._claim = Claim(keys[0], owner, self._options.ttl, name, job_id, self._ticket(keys, owner), *kind)
        self._interruption = Interruption()

    def run(self, body: Callable[[], Any]) -> Any:
        """The job's result; or what tells the worker that the job has not ended."""
        if self._job is None:
            return self._waited(body)
        before = _running.set((self._job.id, self._known or Wait()))
        try:
            return self._waited(body)
        finally:
            _running.reset(before)

    def _waited(self, body: Callable[[], Any]) -> Any:
        if not (self._job and self._options.wait and closing.mine):
            return self._run(body)
        closing.mine.enter(self._claim.owner, 0)
        try:
            return self._run(body)
        finally:
            closing.mine.leave(self._claim.owner, 0)

    def _run(self, body: Callable[[], Any]) -> Any:
        try:
            return self._plan.guard.run(
                self._claim,
                lambda lease: self._work(lease, body),
                lambda refusal: self._refused(refusal, body),
                wait=self._options.wait,
                beat=self._plan.beat,
                on_lost=self._on_lost(),
                strict=self._options.on_lost != "flag",
                in_line=self._options.fair,
            )
        finally:
            await_end()

    def _ticket(self, keys: tuple[str, ...], owner: str) -> Ticket | None:
        if self._job is None or not self._plan.lines_up:
            return None
        return self._plan.ticket(keys, owner, self._known.place if self._known else None)

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
        if self._options.wait and closing.mine:
            closing.mine.leave(self._claim.owner, 0)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        """What counts its waiting ends here, and no retry takes it along."""
        if self._known is None:
            return
        try:
            Room(job.origin, job.connection).forget(job)
        except RedisError as error:
            logger.warning("%s[%s] may be counted as waiting still: %s", self._claim.task, job.id, error)

    def _on_lost(self) -> Callable[[Lease], None] | None:
        match self._options.on_lost:
            case "kill" if self._job is not None and horse.may_end(self._job):
                return kill
            case "flag":
                return None
        return self._interruption.fire

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


def _past_of(claim: Claim) -> telling.Past:
    """What the job that runs here has met; nothing of another's claim, as in a keeper's thread."""
    known = _running.get()
    if known is None or known[0] != claim.task_id:
        return _before(claim)
    return telling.Past(known[1].requeues, known[1].waited or None)


telling.past_of = _past_of
