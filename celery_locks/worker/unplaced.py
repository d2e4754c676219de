"""Gives back the places of jobs that will not run, in a thread: a store that is down holds up no worker."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

from celery_locks import canvas
from celery_locks.unique import found, give_up

if TYPE_CHECKING:
    from celery_locks.canvas import Carried
    from celery_locks.lease import Claim
    from celery_locks.worker.request import LockedRequest

logger = logging.getLogger("celery_locks.worker")


def claim_of(request: LockedRequest) -> Claim | None:
    """The place that a job was sent with, if it was sent with one."""
    plan = request.own_plan
    if plan is None or not plan.options.unique:
        return None
    sent = found(request.request_dict, request.task.name, request.id, plan.options.ttl)
    return sent.claim if sent and sent.claim.key else None


def baton_of(request: LockedRequest) -> Carried | None:
    """The part that a job had in a workflow, whose key is on its way to this one alone."""
    carried = canvas.found(request.request_dict)
    return carried if carried and not carried.together else None


class Unplaced:
    """The jobs that have lost theirs, one after the other."""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[LockedRequest] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, request: LockedRequest) -> None:
        """Its job has ended in another way than by itself, or never begins."""
        if claim_of(request) is None and baton_of(request) is None:
            return
        self._given.put(request)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._go, name="celery_locks-unplaced", daemon=True)
            self._thread.start()

    def _go(self) -> None:
        while True:
            request = self._given.get()
            try:
                _give_up(request)
            except Exception:
                logger.exception("the place of %s in its queue could not be given back", request)


def _give_up(request: LockedRequest) -> None:
    plan, claim = request.own_plan, claim_of(request)
    if plan and claim:
        give_up(plan, claim, request.args, request.kwargs)
    if carried := baton_of(request):
        # Nothing is freed when the key is not on its way: the job has run, or another copy of its message.
        canvas.free(canvas.plan_of(request.task.app, carried).guard, carried.keys, carried.mine)


unplaced = Unplaced()
