"""What becomes of an RQ job that was refused its lease: it comes again, is skipped, fails, or runs without one."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import RedisError
from rq.job import JobStatus

from celery_locks import closing, events, signals
from celery_locks.current import carrying
from celery_locks.errors import LockTimeout, StoreUnavailable
from celery_locks.lease import Lease
from celery_locks.owner import Owner
from celery_locks.policies import (
    NOTHING,
    Contention,
    Requeue,
    Skip,
    after_outage,
    countdown,
    decide,
    is_patient,
    until_free,
)
from celery_locks.rq import horse
from celery_locks.rq.again import GoesBack, instead
from celery_locks.rq.waits import Room

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.client import Pipeline
    from rq.job import Job

    from celery_locks.guard import Refusal
    from celery_locks.lease import Busy, Claim
    from celery_locks.rq.plans import Plan
    from celery_locks.rq.waits import Wait

logger = logging.getLogger("celery_locks.rq")
T = TypeVar("T")

#: Where nobody attends to what waits, a job waits in its slot for so many seconds at most before it goes back.
IN_SLOT = 1.0
#: A job that was skipped is kept so many seconds for whoever asks for it, as RQ keeps a result.
SKIPPED_TTL = 500


class Refused:
    """One try of a job that has no lease; or a call by hand, which has no job."""

    def __init__(self, plan: Plan, claim: Claim, job: Job | None, known: Wait) -> None:
        self._plan = plan
        self._options = plan.options
        self._claim = claim
        self._job = job
        self._known = known
        #: Whether the job waits, and comes again.
        self.waits = False

    def end(self, refusal: Refusal, work: Callable[[Lease], Any]) -> Any:
        """The job's result; or what tells the worker that the job has not ended."""
        if isinstance(refusal, StoreUnavailable):
            return self._without_store(refusal, work)
        try:
            return self._contended(self._contention(refusal), refusal.ticket)
        except GoesBack:
            raise
        except BaseException:
            self._plan.guard.leave_line(refusal.key or self._claim.key, refusal.ticket)
            raise

    def _contended(self, contention: Contention, ticket: str | None) -> Any:
        options, job = self._options, self._job
        if job is not None and closing.calls(self._claim.owner):
            return self._goes_back(job, contention, options.countdown if ticket else 0.0, ticket, counted=False)
        if job is not None and self._meets_itself(job, contention):
            logger.info("%s[%s] runs already: a copy of it is dropped", self._claim.task, job.id)
            return instead(job, lambda _: None)
        if job is not None and options.at_least and self._is_of(job, contention):
            # It is to stay taken for a while after the try before: no policy is asked about that.
            asked = until_free(options.countdown, contention, in_line=ticket is not None)
            return self._goes_back(job, contention, asked, ticket, counted=False)
        decision = decide(options.on_contention, contention, most=options.max_requeues, longest=options.max_wait)
        match decision:
            case Requeue(delay) if job is not None:
                return self._goes_back(job, contention, options.countdown if delay is None else delay, ticket)
            case Skip(result, reason) if result is not NOTHING or job is not None:
                self._plan.guard.leave_line(contention.key, ticket)
                return self._skipped(contention, result, reason)
        reason = getattr(decision, "reason", None)
        because = f": {reason}" if reason else ""
        raise LockTimeout(f"{contention}; the job gives up{because}", contention.key, contention.holder)

    def _meets_itself(self, job: Job, contention: Contention) -> bool:
        """Whether it is on its queue twice, and the other copy runs, for all that RQ knows."""
        if self._options.at_least or not self._is_of(job, contention):
            return False
        try:
            return _executions(job) > 1
        except RedisError as error:
            # One that waits runs later, at worst once more; one that is dropped and was no copy is lost.
            logger.warning("whether %s[%s] runs already is not known: %s", self._claim.task, job.id, error)
            return False

    def _is_of(self, job: Job, contention: Contention) -> bool:
        """Whether the key is taken by a try of the same job."""
        return Owner.of(contention.holder or "")[1:3] == (self._claim.task, job.id)

    def _goes_back(
        self, job: Job, contention: Contention, asked: float | str, ticket: str | None, *, counted: bool = True
    ) -> Any:
        longest, room = self._options.max_wait, Room(job.origin, job.connection)
        # Where nobody attends to those in line, a place in it is no reason to wait for longer.
        served, scheduled = _attended(room)
        delay = countdown(asked, contention, longest=longest, in_line=ticket is not None and served)
        wait = replace(
            self._known,
            requeues=self._known.requeues + counted,
            since=self._known.since or (time.time() if counted else None),
            task=self._claim.task or "",
            key=contention.key,
            holder=contention.holder,
            ticket=ticket,
            store=self._plan.store,
            comes=self._comes(),
            patient=ticket is not None and is_patient(asked, longest),
            due=time.time() + delay,
        )
        self.waits = True
        # First: with RQ 2.0 a job goes back by what is raised.
        signals.requeued.send(self._event(events.Requeued, contention, delay, wait.requeues, contention.place))
        return _put(room, job, wait, served=served, scheduled=scheduled)

    def _comes(self) -> bool:
        """Whether it comes into a slot as the next in line."""
        return bool(self._options.wait)

    def _without_store(self, outage: StoreUnavailable, work: Callable[[Lease], Any]) -> Any:
        if self._options.on_outage == "run":
            lease = Lease.unlocked(self._claim)
            with carrying(lease):
                return work(lease)
        if self._options.on_outage == "requeue" and self._job is not None:
            delay = after_outage(self._options.countdown)
            logger.warning("%s[%s] is tried again in %.1f s: %s", self._claim.task, self._job.id, delay, outage)
            wait = replace(self._known, task=self._claim.task or "", due=time.time() + delay)
            room = Room(self._job.origin, self._job.connection)
            served, scheduled = _attended(room)
            self.waits = True
            return _put(room, self._job, wait, served=served, scheduled=scheduled)
        raise outage

    def _skipped(self, contention: Contention, result: Any, reason: str | None) -> Any:
        reason = reason or f"skipped: {contention}"
        signals.skipped.send(self._event(events.Skipped, contention, reason))
        if result is not NOTHING or self._job is None:
            return result
        job = self._job
        return instead(job, lambda pipeline: _cancel(pipeline, job, reason))

    def _event(self, kind: Callable[..., T], contention: Contention, *facts: object) -> T:
        claim = self._claim
        return kind(contention.key, claim.owner, contention.holder, *facts, **events.of(claim))

    def _contention(self, busy: Busy) -> Contention:
        return Contention(
            key=busy.key or self._claim.key,
            task=self._claim.task or "",
            task_id=self._claim.task_id,
            holder=busy.holder,
            remaining=busy.remaining,
            place=busy.place,
            requeues=self._known.requeues,
            waited=self._known.waited,
        )


def _executions(job: Job) -> int:
    """How many of a job go on. One that RQ has given up is remembered for a while by the job alone."""
    known, registry = job.execution_registry.get_execution_ids(), job.started_job_registry
    until = (registry.connection.zscore(registry.key, f"{job.id}:{each}") for each in known)
    return sum(each is not None and each > time.time() for each in until)


def _attended(room: Room) -> tuple[bool, bool]:
    if horse.is_ours():
        return True, False
    try:
        return room.is_attended()
    except RedisError as error:
        # At the end of its queue it needs nobody; and no failure is counted for what is no fault of the job.
        logger.warning("whether anybody attends to %r is not known: %s", room.queue, error)
        return False, False


def _put(room: Room, job: Job, wait: Wait, *, served: bool, scheduled: bool) -> Any:
    """Have it wait where somebody will put it back: a worker of ours, or a scheduler. Else at the queue's end."""
    if served or scheduled:
        return instead(job, lambda pipeline: room.put(pipeline, job, wait, served=served))
    time.sleep(max(0.0, min(wait.due - time.time(), IN_SLOT)))
    return instead(job, lambda pipeline: room.put_back(pipeline, job, wait))


def _cancel(pipeline: Pipeline, job: Job, reason: str) -> None:
    """End it as cancelled. It is not kept for ever, as RQ keeps what a person has cancelled."""
    job._status = JobStatus.CANCELED  # noqa: SLF001 - its only name
    pipeline.hset(job.key, mapping={"status": JobStatus.CANCELED.value, "lock_skipped": reason})
    pipeline.hdel(job.key, "lock_waits")
    ttl = job.get_result_ttl(SKIPPED_TTL)
    if ttl >= 0:
        pipeline.expire(job.key, max(1, ttl))
