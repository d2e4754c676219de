"""Lets the failure of a job say that its process was ended for a lost lease, and not by itself."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from celery_locks import signals

if TYPE_CHECKING:
    from celery_locks import events

#: So many losses are remembered until RQ has noticed that their processes are gone.
REMEMBERED = 1000
#: How RQ begins to say that a process is gone.
_GONE = "Work-horse terminated unexpectedly"

_lost: OrderedDict[str, events.Lost] = OrderedDict()


def remember() -> None:
    """Note which jobs lose their leases from now on."""
    signals.lost.connect(_note)


def explained(job_id: str, said: str) -> str:
    """Why a job failed; with what is known of its lease, if its process is gone."""
    event = _lost.pop(job_id, None) if said.startswith(_GONE) else None
    if event is None:
        return said
    return (
        f"LockLost: the lease of {event.key!r} is gone: {event.reason}. The process of the job was ended before another"
        f" could have the key (lock_on_lost='kill'): check what was done. {said}"
    )


def _note(event: events.Lost) -> None:
    if event.task_id:
        _lost[event.task_id] = event
        if len(_lost) > REMEMBERED:
            _lost.popitem(last=False)
