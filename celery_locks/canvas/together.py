"""Members that run at the same time under one lease: each process renews it while it runs any of them.

Not the worker's main process: it gives back at once what a process held that died, and others may run under this.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery_locks import telling
from celery_locks.errors import LockError, StoreUnavailable
from celery_locks.guard import NEVER
from celery_locks.lease import Busy, Lease
from celery_locks.loss import report_outage

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.guard import Guard
    from celery_locks.lease import Claim
    from celery_locks.plan import Plan


@dataclass
class _Held:
    lease: Lease
    members: int = 0


_held: dict[str, _Held] = {}
_mutex = threading.RLock()


def _start_afresh() -> None:
    global _mutex  # noqa: PLW0603 - a forked child has it in any state
    _mutex = threading.RLock()
    _held.clear()


os.register_at_fork(after_in_child=_start_afresh)


def entered(plan: Plan, claim: Claim, on_lost: Callable[[Lease], None] | None) -> Lease | Busy:
    """The lease that the members have in common, taken by the first of them that comes."""
    with _mutex:
        held = _held.get(claim.owner)
        if held is None or not held.lease.held():
            outcome = _asked(plan, claim)
            if isinstance(outcome, Busy):
                return outcome
            held = _held[claim.owner] = _Held(outcome)
            plan.guard.care.watch(outcome, plan.beat or NEVER * claim.ttl, on_lost)
        held.members += 1
        return held.lease


def left(guard: Guard, lease: Lease, stay: float) -> None:
    """One of them has ended. After the last of this process the lease lasts for so long without it."""
    with _mutex:
        held = _held.get(lease.owner)
        if held is None or held.lease is not lease:
            return
        held.members -= 1
        if held.members > 0:
            return
        del _held[lease.owner]
        try:
            if lease.held():
                # Elsewhere others may run, who count on it for a ttl from when they renewed it last.
                guard.renew(lease, max(stay, lease.claim.ttl))
        except LockError as error:
            # The job's own matter if it is lost; and it lasts for a while if the store is down.
            report_outage(lease.claim, "renew", error.message)
        finally:
            guard.care.forget(lease)
            guard.care.left(lease)


def _asked(plan: Plan, claim: Claim) -> Lease | Busy:
    before = plan.guard.store.clock()
    try:
        outcome = plan.guard.verbs(claim).acquire(claim)
    except StoreUnavailable as error:
        report_outage(claim, "acquire", error.message)
        raise StoreUnavailable(f"{claim.shown} could not be locked: {error}", claim.key) from error
    waited = plan.guard.store.clock() - before
    if isinstance(outcome, Busy):
        telling.contended(claim, outcome, waited)
        return outcome
    outcome.renewer, outcome.since = plan.guard.renew, before + waited
    telling.acquired(outcome, waited)
    return outcome
