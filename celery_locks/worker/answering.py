"""Answers `celery inspect locks`: what a worker holds, and what waits in it."""

from __future__ import annotations

import os
import time
import weakref
from typing import TYPE_CHECKING, Any

from celery.utils.serialization import strtobool
from celery.worker.control import inspect_command

from celery_locks import keepers
from celery_locks.owner import Owner
from celery_locks.pool.child import Child
from celery_locks.worker.running import running
from celery_locks.worker.stacks import stacks as stacks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.lease import Lease
    from celery_locks.pool.children import Children
    from celery_locks.worker.line import Line

_NOBODY = "no thread of this process runs it as a job"
_GONE = "it was given back while its process was asked"

_pools: weakref.WeakValueDictionary[str, Children] = weakref.WeakValueDictionary()
#: The part of the line that each consumer has. Of one that ended it may be there a little longer.
_lines: dict[int, Line] = {}


@inspect_command(name="locks", signature="[stacks=False]", args=[("stacks", strtobool)])
def locks(state: Any, stacks: bool = False, **_: Any) -> dict[str, Any]:  # noqa: FBT001, FBT002 - as Celery's own
    """Locks that a worker holds, and jobs that wait in it; with stacks what its holders do now."""
    line = _lines.get(id(state.consumer))
    holds = [_lease(lease) for lease in _held(state.hostname)]
    if stacks:
        _add_stacks(state.hostname, holds)
    return {"holds": holds, "waits": list(line.waits()) if line else [], "clock": time.time()}


def share(hostname: str, children: Children) -> None:
    """From now on these are the processes of this worker's pool."""
    _pools[hostname] = children


def attend(consumer: object, line: Line) -> None:
    """From now on this is what tells who waits in a worker."""
    _lines[id(consumer)] = line


def forget(consumer: object) -> None:
    """Nobody waits there any more."""
    _lines.pop(id(consumer), None)


def _held(hostname: str) -> Iterator[Lease]:
    """The leases of the pool's processes, and those that are kept in this one."""
    if children := _pools.get(hostname):
        yield from children.leases()
    yield from (watched.lease for watched in keepers.all_watched() if not isinstance(watched.ward, Child))


def _lease(lease: Lease) -> dict[str, Any]:
    claim, remaining = lease.claim, lease.remaining
    return {
        "keys": [*claim.keys],
        "owner": claim.owner,
        "task": claim.task,
        "task_id": claim.task_id,
        "pid": Owner.of(claim.owner).pid,
        "fence": lease.fence_of(lease.key),
        "state": lease.state.value,
        "remaining": None if remaining is None else round(remaining, 3),
    }


def _add_stacks(hostname: str, holds: list[dict[str, Any]]) -> None:
    """Add to each what its holder does, or why that is not known."""
    children = _pools.get(hostname)
    pids = {each["pid"] for each in holds} - {os.getpid(), None}
    here, there = running(), stacks_of(children, pids) if children else {}
    # A process may have gone on to its next job meanwhile.
    held = {lease.owner for lease in _held(hostname)} if there else set()
    for each in holds:
        said = there.get(each["pid"]) or here.get(each["owner"]) or _NOBODY
        if each["pid"] in there and each["owner"] not in held:
            said = _GONE
        each["stack"], each["stack_unknown"] = (None, said) if isinstance(said, str) else (said, None)
