"""Hazards of any store: how far it is, whose clock it has, and who else uses it."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING

from celery_locks.crowd import inspects
from celery_locks.doctor import sql
from celery_locks.doctor.clocks import APART
from celery_locks.doctor.finding import Finding, Hazard, some
from celery_locks.errors import LockConfigError, LockError
from celery_locks.options import BEATS_A_TTL
from celery_locks.owner import Owner
from celery_locks.stores.operations import Clocked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.doctor.ward import StoreCase

#: So many holders are looked at.
LOOKED_AT = 2000
TRIPS = 5
_MICRO = 1e6
_NONE = "celery_locks:doctor"

UNUSABLE = Hazard(
    "CL001",
    "error",
    "Locked jobs go back to their queue until it answers; with lock_on_outage='run' they run unlocked.",
    "see that it runs, and that this machine may reach it",
)
TOO_FAR = Hazard(
    "CL002",
    "error",
    "A beat cannot come in time: leases are lost while their jobs run.",
    "lock_ttl = {ttl} or more, or a store that is nearer",
)
SET_BACK = Hazard(
    "CL003",
    "error",
    "The server's clock was set back. Keys whose last fence is remembered count on from there; one that is forgotten"
    " begins with a lower fence, and a guard refuses what its holder writes.",
    "set the server's clock right (chronyc makestep), and keep it by NTP",
)
SHARED = Hazard(
    "CL005",
    "error",
    "Two apps share a prefix: one key means one thing to one of them and another to the other, and they shut each other"
    " out. Or this command has not imported all tasks.",
    'app.conf.lock_prefix = "{app}:lock:", another one for each app',
)
IN_MEMORY = Hazard(
    "CL006",
    "error",
    "Each process of a pool, and each worker, has locks of its own: they do not exclude each other.",
    'app.conf.lock_store = "redis://localhost:6379/0"; memory:// is for tests',
)


def trouble(case: StoreCase) -> Finding | None:
    """Why the store cannot be used at all."""
    try:
        inspects(case.store).inspect(_NONE)
    except LockError as error:
        if isinstance(error, LockConfigError) and (found := sql.pooled(case, error)):
            return found
        return UNUSABLE.found(f"{case.name} cannot be used: {error.message}")
    return None


def ttl_too_short_for_the_way(case: StoreCase) -> Iterator[Finding]:
    """A lease may end before its renewal has arrived."""
    if case.store.in_connection or not case.locked:
        return
    trip = _trip(case)
    if short := [each.name for each in case.locked if each.options.ttl < BEATS_A_TTL * trip]:
        what = f"a round trip takes {trip:.3f} s, and lock_ttl is less than {BEATS_A_TTL} of them: {some(short)}"
        yield TOO_FAR.found(f"{case.name}: {what}", ttl=max(1, round(20 * trip)))


def fence_ahead_of_the_clock(case: StoreCase) -> Iterator[Finding]:
    """A key was taken at a time that has not come yet: a clock was set back since."""
    store = inspects(case.store)
    if not store.fence_is_time:
        return
    found = list(itertools.islice(store.list(), LOOKED_AT))
    # The clock is read after the fences, so that none of them is newer by itself.
    now = case.store.time() if isinstance(case.store, Clocked) else case.now()
    ahead = {each.key: each.fence / _MICRO - now for each in found if each.fence / _MICRO > now + APART}
    if ahead:
        by = f"by up to {max(ahead.values()):.0f} s"
        yield SET_BACK.found(f"{case.name}: fences are newer than the store's clock, {by}: {some([*ahead])}")


def another_app_with_this_prefix(case: StoreCase) -> Iterator[Finding]:
    """Keys are held by jobs of tasks that this app does not have."""
    if case.app is None:
        return
    owners = (Owner.of(each.owner) for each in itertools.islice(inspects(case.store).list(), LOOKED_AT))
    # Jobs of RQ are no tasks of any app, and may well be meant to share its keys.
    named = {owner.task for owner in owners if owner.task and owner.task_id and not owner.is_rq}
    if theirs := sorted(named - case.app.tasks.keys()):
        what = f"keys with the prefix {case.store.prefix!r} are held by tasks that are not of this app: {some(theirs)}"
        yield SHARED.found(f"{case.name}: {what}", app=case.app.main or "shop")


def memory_of_one_process(case: StoreCase) -> Iterator[Finding]:
    """Locks in memory hold between the threads of one process."""
    if case.store.in_process and case.locked:
        yield IN_MEMORY.found(f"{case.name}: locks live in the memory of one process")


def _trip(case: StoreCase) -> float:
    """Of several, one after the other, the middle one."""
    store, took = inspects(case.store), []
    for _ in range(TRIPS):
        before = case.clock()
        store.inspect(_NONE)
        took.append(case.clock() - before)
    return statistics.median(took)


CHECKS = (
    ttl_too_short_for_the_way,
    fence_ahead_of_the_clock,
    another_app_with_this_prefix,
    memory_of_one_process,
)
