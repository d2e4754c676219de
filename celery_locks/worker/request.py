"""A locked job's message, as the worker's main process sees it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, Retry
from celery.worker.request import Request

from celery_locks import closing
from celery_locks.canvas import HEADER, plan_for
from celery_locks.errors import LockError, LockTimeout
from celery_locks.refused import EXPIRED, Skipped
from celery_locks.unique import was_heard
from celery_locks.worker.killed import explained
from celery_locks.worker.unplaced import unplaced

if TYPE_CHECKING:
    from celery_locks.guard import Guard
    from celery_locks.plan import Plan
    from celery_locks.worker.held import Held

logger = logging.getLogger("celery_locks.worker")


class LockedRequest(Request):
    """A job's message, which also tells the job how it was serialized, so that a re-queue is sent the same way."""

    #: How it waits here for its turn, if it does.
    held: Held | None = None
    #: Where Celery keeps what it cancels when the worker ends.
    _eta_timer_entry: Any = None
    #: Whether its message is in a queue again.
    _comes_again = False
    _is_broken_off = False

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        self._tell_how_it_came(message)

    def _tell_how_it_came(self, message: Any) -> None:
        self.request_dict["properties"] = {**(message.properties or {}), "content_type": message.content_type}

    @property
    def plan(self) -> Plan | None:
        """How it takes its key, or that of a workflow that it is a part of; None when it takes none."""
        return plan_for(self.task, self.request_dict)

    @property
    def own_plan(self) -> Plan | None:
        """What its task's declaration comes to; None when that was refused."""
        plan: Plan | None = getattr(self.task, "_plan", None)
        return plan

    @property
    def guard(self) -> Guard | None:
        """The guard of its task's store, unless it cannot be had."""
        try:
            return self.plan.guard if self.plan else None
        except LockError as error:
            logger.warning("a job of %s comes by its countdown: %s", self.task.name, error)
            return None

    def keys(self) -> tuple[str, ...]:
        """The keys that it will ask for; none when that cannot be told from its arguments."""
        if HEADER in self.request_dict:
            # It may have the key that others wait for: it is to go in.
            return ()
        try:
            return self.plan.keys(tuple(self.args), dict(self.kwargs)) if self.plan else ()
        except Exception:  # noqa: BLE001 - the job will say so itself
            return ()

    @property
    def has_begun(self) -> bool:
        """Whether it has had a slot, or needs none for it was revoked."""
        return bool(self.time_start or self._already_revoked)  # type: ignore[attr-defined]  # its stubs lack it

    def wait_until(self, when: Any) -> None:
        """Start it then, as if its message had said so."""
        self._eta = when

    def timed(self, entry: Any) -> None:
        """It is this entry of the timer that starts it now."""
        self._eta_timer_entry = entry

    def cancel(self, pool: Any, signal: Any = None, **how: Any) -> None:  # type: ignore[override]  # an older one has fewer
        """Break it off, because its worker ends; but not what has gone back to its queue just now."""
        if not (closing.mine and closing.mine.has_gone(self.id)):
            self._is_broken_off = getattr(pool, "is_green", False) and self.task.acks_late
            super().cancel(pool, signal, **how)

    def acknowledge(self) -> None:
        """Acknowledge it; but not a greenlet that was broken off, which Celery takes for one that did well."""
        if not self._is_broken_off:
            super().acknowledge()

    def on_failure(self, exc_info: Any, *given: Any, **named: Any) -> None:
        """Say so if it failed because its process was ended for its lease."""
        plan = self.plan
        is_killed = plan is not None and plan.options.on_lost == "kill"
        super().on_failure(explained(exc_info, self.id) if is_killed else exc_info, *given, **named)
        # Also when its process has said so: what failed before its call, as in `before_start`, has given back nothing.
        # One that is ignored by then may have been replaced, by a job to which the place goes on.
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if not (isinstance(error, Ignore) and was_heard(error)):
            self._is_over()
        if isinstance(error, Skipped):
            # Else whoever follows events, as Flower, takes it for a job that runs for ever.
            self.send_event("task-revoked", terminated=False, signum=None, expired=str(error) == EXPIRED)

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        """Give back its place when its process was ended for its time."""
        super().on_timeout(soft, timeout)
        if not soft:
            self._is_over()

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's signature
        """Note whether it comes again."""
        self._comes_again |= bool(requeue) and not self.acknowledged
        super().reject(requeue=requeue)

    def _retry_worker_lost(self, *given: Any) -> bool:
        """Note that it comes again. Celery asks from version 5.7 on."""
        sent = bool(super()._retry_worker_lost(*given))  # type: ignore[misc]  # its stubs lack it
        self._comes_again |= sent
        return sent

    def _announce_revoked(self, *given: Any, **named: Any) -> None:
        super()._announce_revoked(*given, **named)  # type: ignore[misc]  # its stubs lack it
        unplaced.add(self)

    def _is_over(self) -> None:
        """Give back its place, unless its message comes again."""
        if self.acknowledged and not self._comes_again:
            unplaced.add(self)

    def on_retry(self, exc_info: Any) -> None:
        """Note that its key was taken: those who come for it now had better wait at the door."""
        # It ended before it could be broken off, and has sent another message: this one is not to come as well.
        self._is_broken_off = False
        super().on_retry(exc_info)
        self._comes_again = True
        reason = getattr(exc_info.exception, "exc", None)
        if isinstance(reason, Retry):
            # Pools within the worker's own process wrap what was raised, which others leave behind in theirs.
            reason = reason.exc
        if isinstance(reason, LockTimeout) and reason.key and self.guard and self.guard.waker:
            self.guard.waker.note(reason.key)


class MemberRequest(LockedRequest):
    """The message of a task that is not locked, but may be a member of a workflow that is."""

    def _tell_how_it_came(self, message: Any) -> None:
        if HEADER in self.request_dict:
            super()._tell_how_it_came(message)
