"""A queue that sends a job once, where the options of its function say so."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.queue import Queue

from celery_locks import events, signals
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy
from celery_locks.owner import Owner
from celery_locks.rq.house import House
from celery_locks.rq.place import claim_of
from celery_locks.rq.plans import name_of, plan_for, wrapped
from celery_locks.surely import surely

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Claim
    from celery_locks.rq.plans import Plan

logger = logging.getLogger("celery_locks.rq")

#: Between taking its place and being sent a job is nowhere else, for so many seconds at most.
SENDING = 5.0
PAUSE = 0.05
#: How RQ calls a job that has not ended.
_GOES_ON = {"created", "queued", "deferred", "scheduled", "started", "ready_to_enqueue", "rate_limited"}


class LockedQueue(Queue):
    """A queue on which a job with `unique` is not put while another has its place: `enqueue` gives that one then.

    Everything else is as on any queue, and any worker takes jobs from it. What is sent by `enqueue_many` is sent.
    """

    def enqueue_job(self, job: Job, *args: Any, **kwargs: Any) -> Job:
        """Put a job on the queue, or give the one that has its place."""
        return self._once(job, lambda: super(LockedQueue, self).enqueue_job(job, *args, **kwargs))

    def schedule_job(self, job: Job, *args: Any, **kwargs: Any) -> Job:
        """Have a job put on the queue at a later time, or give the one that has its place."""
        if Job.exists(job.id, self.connection):
            # RQ itself puts a job off, to repeat or retry it.
            return super().schedule_job(job, *args, **kwargs)
        return self._once(job, lambda: super(LockedQueue, self).schedule_job(job, *args, **kwargs))

    def _once(self, job: Job, send: Callable[[], Job]) -> Job:
        plan = _plan_of(job)
        if plan is None or not plan.options.unique or not self._is_async:
            return send()
        claim = claim_of(plan, job)
        try:
            first = self._first(plan, claim)
        except StoreUnavailable as outage:
            if plan.options.on_outage == "fail":
                raise
            logger.warning("%s[%s] is sent without its place %r: %s", claim.task, job.id, claim.key, outage)
            return send()
        if first is not None:
            return first
        try:
            return send()
        except BaseException:
            surely(_give_back, plan, claim)
            raise

    def _first(self, plan: Plan, claim: Claim) -> Job | None:
        """The job that has this place; None when the claim has it now, or none of ours does."""
        until = time.monotonic() + SENDING
        while isinstance(outcome := plan.guard.store.acquire(claim), Busy):
            owner = Owner.of(outcome.holder or "")
            if owner.task != claim.task or not owner.task_id:
                logger.warning(
                    "%r is taken by no job (%s): %s is sent all the same", claim.key, owner.name, claim.task_id
                )
                return None
            first = self._going_on(owner.task_id)
            may_come = (outcome.age or 0.0) < SENDING and time.monotonic() < until
            if first is None and may_come and not Job.exists(owner.task_id, self.connection):
                # It may be on its way.
                time.sleep(PAUSE)
            elif first is None:
                # Its process died before it could give the place back.
                plan.guard.store.disown(claim._replace(owner=owner.name))
            else:
                event = events.Duplicate(claim.key, owner.name, task=claim.task, task_id=first.id)
                signals.duplicate.send(event)
                return first
        return None

    def _going_on(self, job_id: str) -> Job | None:
        try:
            job = self.job_class.fetch(job_id, connection=self.connection, serializer=self.serializer)
        except NoSuchJobError:
            return None
        return job if job.get_status(refresh=False) in _GOES_ON else None


def _plan_of(job: Job) -> Plan | None:
    try:
        function = job.func
    except (ImportError, AttributeError, ValueError):
        # Whoever enqueues by name alone need not have the function.
        logger.debug("%s cannot be imported here: whether it is unique is not known", job.func_name)
        return None
    declared = next((each.lock_options for each in wrapped(function) if hasattr(each, "lock_options")), None)
    return plan_for(House.of(job.connection), name_of(job), function, declared)


def _give_back(plan: Plan, claim: Claim) -> None:
    plan.guard.store.release(claim)
