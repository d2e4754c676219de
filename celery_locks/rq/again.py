"""Ends an execution without ending its job: the one step in which RQ lets go of it also says where it waits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rq import Retry
from rq.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.client import Pipeline

    #: What is done in that step.
    Act = Callable[[Pipeline], None]

#: From version 2.1 on a job that returns a `Retry` has not ended.
RETURNS = hasattr(Job, "_handle_retry_result")


class Again(Retry):
    """What a job returns that has not ended. No try is counted."""

    def __init__(self) -> None:
        super().__init__(max=sys.maxsize)


class GoesBack(Exception):
    """What a job of RQ 2.0 raises that has not ended."""


def instead(job: Job, act: Act) -> Again:
    """Have the worker do this in place of ending the job, and nothing else: no callback, no result, no retry.

    What is returned is to be returned by the job's function. Whoever runs it executes the step in one transaction with
    what takes the execution out of RQ's registries: if that fails, nothing of it is done.
    """

    def counted_back(pipeline: Pipeline) -> None:
        act(pipeline)
        # RQ counts a failure of the worker's, which this is not.
        pipeline.hincrby(f"{_workers()}{job.worker_name}", "failed_job_count", -1)

    held: Any = job
    if RETURNS:
        held._handle_retry_result = lambda *_, pipeline, **__: counted_back(pipeline)  # noqa: SLF001 - of this object
        return Again()
    left = job.retries_left

    def retry(_: Any, pipeline: Pipeline) -> None:
        job.retries_left = left
        counted_back(pipeline)

    # As a job that failed and is to be retried; its own retries are put back before anything is stored.
    held.retries_left, held.retry = 1, retry
    held.execute_failure_callback = lambda *_: None
    raise GoesBack(f"{job.id} has gone back to its queue")


def _workers() -> str:
    from rq.worker import BaseWorker  # noqa: PLC0415 - whoever enqueues has no worker

    return BaseWorker.redis_worker_namespace_prefix
