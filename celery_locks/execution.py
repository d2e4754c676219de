"""One execution of a locked job: what it claims, and what it does under its lease."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.app.task import Context

from celery_locks import closing, pooled, requeue
from celery_locks.current import apart
from celery_locks.interrupt import Interruption, await_end, kill
from celery_locks.lease import Claim, new_owner
from celery_locks.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.guard import Refusal
    from celery_locks.lease import Lease
    from celery_locks.plan import Plan
    from celery_locks.ticket import Ticket

#: Where a request keeps its job's lease, among its properties.
LEASE = "lock_lease"


def _clean(request: Any) -> None:
    """Take what counts a job's waiting out of its request, for good: what a job is given is what was sent."""
    request.headers = requeue.without_counters(request.headers) or None
    for name in requeue.OURS:
        vars(request).pop(name, None)


class Execution:
    """One try of one job. Its state lives here and on the request, never on the task, which all jobs share."""

    def __init__(
        self,
        task: Any,
        plan: Plan,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        heed: Callable[[], object] | None = None,
    ) -> None:
        self._task = task
        #: Raises when the job has ended before, and this is a copy of its message. Asked before anything is said of it.
        self._heed = heed
        self._plan = plan
        self._options = plan.options
        request = task.request_stack.top
        # The worker puts a job's request on top before it runs it. A call by hand, also one inside a job, has none.
        traced = request is not None and not request.called_directly and LEASE not in (request.properties or {})
        self.traced = traced
        self._request = request if traced else None
        self._id: str | None = request.id if traced else None
        self._queued = traced and not request.is_eager
        owner = new_owner(f"{task.name}[{self._id}]" if self._id else task.name)
        self._had, keys = apart(plan.keys(args, kwargs), plan)
        kind = (*plan.kind, keys[1:], self._options.at_least)
        self._claim = Claim(keys[0], owner, self._options.ttl, task.name, self._id, self._ticket(keys, owner), *kind)
        self._interruption = Interruption()
        self._started = time.monotonic()

    @property
    def owner(self) -> str:
        """The name of this execution."""
        return self._claim.owner

    def run(self, body: Callable[[], Any]) -> Any:
        """The job's result; or the exception that tells Celery where it goes instead."""
        if self._had:
            return self._work(self._had, body)
        if not (self._queued and self._options.wait and closing.mine):
            return self._run(body)
        place = pooled.place()
        closing.mine.enter(self._claim.owner, place)
        try:
            return self._run(body)
        finally:
            closing.mine.leave(self._claim.owner, place)

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
        if not (self._queued and self._plan.lines_up):
            return None
        place = requeue.place(self._request.headers or {}) if self._request else None
        return self._plan.ticket(keys, owner, place)

    def _work(self, lease: Lease, body: Callable[[], Any]) -> Any:
        if self._options.on_lost != "flag":
            self._interruption.heeds(lease)
        if self._request is None:
            return self._by_hand(lease, body)
        if self._options.wait and closing.mine:
            closing.mine.leave(self._claim.owner, pooled.place())
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

    def _on_lost(self) -> Callable[[Lease], None] | None:
        match self._options.on_lost:
            case "kill" if pooled.is_pooled():
                return kill
            case "flag":
                return None
        return self._interruption.fire

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
