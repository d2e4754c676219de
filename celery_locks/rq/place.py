"""The place in the queue of a job that is to be there once."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim
from celery_locks.owner import OF_RQ
from celery_locks.rq.plans import name_of
from celery_locks.rq.waits import seconds

if TYPE_CHECKING:
    from rq.job import Job

    from celery_locks.rq.plans import Plan

logger = logging.getLogger("celery_locks.rq")


def claim_of(plan: Plan, job: Job) -> Claim:
    """The claim on it, in a name that can be told from the job alone: nothing has to go with it."""
    name = name_of(job)
    keys = plan.keys(tuple(job.args), dict(job.kwargs))
    key = f"unique:{name}:{keys[0] if len(keys) == 1 else json.dumps(keys)}"
    sent = round(seconds(job.created_at) * 1_000_000)
    return Claim(key, f"{OF_RQ}{name}[{job.id}]@rq:0#{sent:016x}", plan.options.unique_ttl, name, job.id)


class Place:
    """The place of a job that runs, or is about to."""

    def __init__(self, plan: Plan, job: Job) -> None:
        self._plan = plan
        self._job = job
        self._claim = claim_of(plan, job)

    def begins(self) -> None:
        """Its key was taken."""
        if self._plan.options.unique == "until_start":
            self._give_back()

    def waits(self) -> None:
        """It goes back to its queue: the place is to last as long again."""
        store, claim = self._plan.guard.store, self._claim
        try:
            store.acquire(claim)
        except StoreUnavailable as error:
            logger.warning("%r may be free before its job runs: %s", claim.key, error)

    def ends(self, *, comes_again: bool) -> None:
        """Its function has ended, and RQ may run it again."""
        if not comes_again:
            self._give_back()

    def _give_back(self) -> None:
        try:
            self._plan.guard.store.release(self._claim)
        except StoreUnavailable as error:
            # Whoever sends the next sees that this one has ended.
            logger.warning("%r stays taken for %s[%s]: %s", self._claim.key, self._claim.task, self._job.id, error)
