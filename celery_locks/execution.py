"""One execution of a locked job: what it claims, and what it does under its lease."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.app.task import Context

from celery_locks import pooled, requeue
from celery_locks.attempt import Attempt
from celery_locks.current import apart
from celery_locks.lease import new_owner
from celery_locks.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.guard import Refusal
    from celery_locks.lease import Lease
    from celery_locks.plan import Plan

#: Where a request keeps its job's lease, among its properties.
LEASE = "lock_lease"


def _clean(request: Any) -> None:
    """Take what counts a job's waiting out of its request, for good: what a job is given is what was sent."""
    request.headers = requeue.without_counters(request.headers) or None
    for name in requeue.OURS:
        vars(request).pop(name, None)


class Execution(Attempt):
    """One try of one job. Its state lives here and on the request, never on the task, which all jobs share."""

    def __init__(
        self,
        task: Any,
        plan: Plan,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        heed: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(plan)
        self._task = task
        #: Raises when the job has ended before, and this is a copy of its message. Asked before anything is said of it.
        self._heed = heed
        request = task.request_stack.top
        # The worker puts a job's request on top before it runs it. A call by hand, also one inside a job, has none.
        traced = request is not None and not request.called_directly and LEASE not in (request.properties or {})
        self.traced = traced
        self._request = request if traced else None
        self._id: str | None = request.id if traced else None
        self._queued = traced and not request.is_eager
        owner = new_owner(f"{task.name}[{self._id}]" if self._id else task.name)
        self._had, keys = apart(plan.keys(args, kwargs), plan)
        known = requeue.place(request.headers or {}) if traced else None
        ticket = self._ticket(keys, owner, known) if self._queued and plan.lines_up else None
        self._claim = self._claimed(task.name, self._id, keys, owner, ticket)
        self._started = time.monotonic()

    @property
    def owner(self) -> str:
        """The name of this execution."""
        return self._claim.owner

    def run(self, body: Callable[[], Any]) -> Any:
        """The job's result; or the exception that tells Celery where it goes instead."""
        if self._had:
            return self._work(self._had, body)
        return self._run_in_slot(pooled.place(), body) if self._queued else self._run(body)

    def _work(self, lease: Lease, body: Callable[[], Any]) -> Any:
        if self._options.on_lost != "flag":
            self._interruption.heeds(lease)
        if self._request is None:
            return self._by_hand(lease, body)
        self._waits_no_more(pooled.place())
        request = self._request
        sent = request.properties
        _clean(request)
        request.properties = {**(sent or {}), LEASE: lease}
        try:
            with self._interruption:
                return body()
        finally:
            request.properties = sent

    def _by_hand(self, lease: Lease, body: Callable[[], Any]) -> Any:
        request = self._task.request
        requests, seen = self._task.request_stack, Context({**vars(request), "_children": request.children})
        seen.properties = {**(request.properties or {}), LEASE: lease}
        try:
            requests.push(seen)
            with self._interruption:
                return body()
        finally:
            if requests.top is seen:
                requests.pop()

    def _may_end(self) -> bool:
        return pooled.is_pooled()

    def _refused(self, refusal: Refusal, body: Callable[[], Any]) -> Any:
        job = Refused(
            self._task,
            self._plan,
            self._claim,
            request=self._request,
            started=self._started,
            heed=self._heed,
            has_ended=self._has_ended,
        )
        return job.end(refusal, lambda lease: self._work(lease, body))

    def _has_ended(self) -> bool:
        """Whether its job has a result by another copy of its message, which its waiting is not to replace."""
        return False
