"""Lets a job wait in line before it has had a slot, when its key is known to be taken.

A job that finds its key taken inside a slot goes back to its queue. While many come for one key, each would take a
slot, find the key taken, be published again, and lie behind the others. So a worker that has just seen a key taken
keeps the next ones for it at its door: unacknowledged, as it keeps those with a countdown, and in line.
"""

from __future__ import annotations

import hashlib
import logging
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.app.task import Context

from celery_locks import config, events, requeue, signals
from celery_locks.errors import LockTimeout
from celery_locks.lease import new_owner
from celery_locks.policies import Contention, Requeue, countdown, is_patient
from celery_locks.stores.base import Waiting
from celery_locks.ticket import marked
from celery_locks.unique import is_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Busy
    from celery_locks.options import Options
    from celery_locks.worker.request import LockedRequest

logger = logging.getLogger("celery_locks.worker")


class Door:
    """Who is kept at the door of a worker."""

    def __init__(self, app: Any) -> None:
        #: Where the number of messages that a worker holds may not grow with each that waits in it, those kept would be
        #: in the way of jobs for other keys.
        self.stands_open = config.delays_natively(app) or app.conf.get("worker_eta_task_limit") is not None

    def shut(self, request: LockedRequest) -> tuple[Waiting, Callable[[Busy], None]] | None:
        """Keep this job; its place, and whom to tell where in line it stands. None when it is to go in."""
        plan = request.plan
        if self.stands_open or plan is None or not _may_wait(plan.options):
            return None
        waker = request.guard.waker if request.guard else None
        if waker is None or waker.is_calm():
            return None
        key = next(filter(waker.is_wanted, request.keys()), None)
        if key is None:
            return None
        owner = new_owner(f"{request.task.name}[{request.id}]")
        name = marked(_name(request), plan.options.slots, shared=plan.options.shared)
        place = Waiting(key, name, comes=bool(plan.options.wait))
        asked, longest = _asked(plan.options), plan.options.max_wait
        seconds = countdown(asked, _contention(request, key), longest=longest, in_line=True)
        request.wait_until(request.task.app.now() + timedelta(seconds=seconds))
        request.request_dict.update(_headers(request, place, patient=is_patient(asked, longest)))
        return place, partial(_tell, request, key, owner)


def _may_wait(options: Options) -> bool:
    # A key that the user's own code makes may need what only a job has.
    templates = isinstance(options.key, (str, list, tuple))
    return (
        options.fair
        and templates
        and (options.on_contention == "requeue" or isinstance(options.on_contention, Requeue))
    )


def _asked(options: Options) -> float | str:
    policy = options.on_contention
    return policy.delay if isinstance(policy, Requeue) and policy.delay is not None else options.countdown


def _name(request: LockedRequest) -> str:
    """The same each time this message is delivered: it comes back to its place when its worker died."""
    sent = request.request_dict
    told = f"{request.id} {sent.get('retries')} {sent.get(requeue.REQUEUES)}"
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def _contention(request: LockedRequest, key: str, busy: Busy | None = None) -> Contention:
    holder, remaining, place = (busy.holder, busy.remaining, busy.place) if busy else (None, None, None)
    sent = Context(request.request_dict)
    return Contention(
        key, request.task.name, request.id, holder, remaining, place, requeue.requeues(sent), requeue.waited(sent)
    )


def _headers(request: LockedRequest, place: Waiting, *, patient: bool) -> dict[str, Any]:
    since = request.request_dict.get(requeue.SINCE, time.time())
    return {requeue.KEY: place.key, requeue.TICKET: place.ticket, requeue.SINCE: since, requeue.PATIENT: patient}


def _tell(request: LockedRequest, key: str, owner: str, busy: Busy) -> None:
    """Show that the job waits, before it can be started. Nothing is lost if that cannot be shown."""
    contention = _contention(request, key, busy)
    if signals.contended:
        told = (*busy[:3], 0.0, busy.age, contention.requeues)
        signals.contended.send(events.Contended(key, owner, *told, task=request.task.name, task_id=request.id))
    plan, told_of = request.plan, request.request_dict
    if plan and is_copy(plan, told_of, request.task.name, request.id, busy.holder):
        return
    sent = Context({**request.request_dict, "args": request.args, "kwargs": request.kwargs})
    if not requeue.ignores_result(request.task, sent):
        requeue.show(request.task, sent, LockTimeout(str(contention), key, busy.holder))
