"""Answers `celery inspect locks`: what a worker holds, and what waits in it."""

from __future__ import annotations

import sys
import time
import traceback
import weakref
from typing import TYPE_CHECKING, Any

from celery.utils.serialization import strtobool
from celery.worker.control import inspect_command

from celery_locks import keepers
from celery_locks.execution import Execution
from celery_locks.owner import Owner
from celery_locks.worker.child import Child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from celery_locks.lease import Lease
    from celery_locks.worker.children import Children
    from celery_locks.worker.line import Line

_pools: weakref.WeakValueDictionary[str, Children] = weakref.WeakValueDictionary()
#: The part of the line that each consumer has. Of one that ended it may be there a little longer.
_lines: dict[int, Line] = {}


@inspect_command(name="locks", signature="[stacks=False]", args=[("stacks", strtobool)])
def locks(state: Any, stacks: bool = False, **_: Any) -> dict[str, Any]:  # noqa: FBT001, FBT002 - as Celery's own
    """Locks that a worker holds, and jobs that wait in it; with stacks what its holders do now."""
    line = _lines.get(id(state.consumer))
    running = _running() if stacks else None
    return {
        "holds": [_lease(lease, running) for lease in _held(state.hostname)],
        "waits": list(line.waits()) if line else [],
        "clock": time.time(),
    }


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


def _lease(lease: Lease, running: dict[str, list[str]] | None) -> dict[str, Any]:
    claim, remaining = lease.claim, lease.remaining
    told: dict[str, Any] = {
        "keys": [*claim.keys],
        "owner": claim.owner,
        "task": claim.task,
        "task_id": claim.task_id,
        "pid": Owner.of(claim.owner).pid,
        "fence": lease.fence_of(lease.key),
        "state": lease.state.value,
        "remaining": None if remaining is None else round(remaining, 3),
    }
    return told if running is None else {**told, "stack": running.get(claim.owner)}


def _running() -> dict[str, list[str]]:
    """What the threads of this process do for each owner. Of another process nothing is seen from here."""
    found = {}
    for top in sys._current_frames().values():  # noqa: SLF001 - its only name
        for owner in _owners(top):
            found[owner] = [line.rstrip() for line in traceback.format_stack(top)]
    return found


def _owners(frame: FrameType | None) -> Iterator[str]:
    while frame:
        execution = frame.f_locals.get("self") if frame.f_code is Execution.run.__code__ else None
        if isinstance(execution, Execution):
            yield execution.owner
        frame = frame.f_back
