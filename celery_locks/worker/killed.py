"""Lets the result of a job say that its process was ended for a lost lease, and not by itself."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError

from celery_locks import signals
from celery_locks.errors import LockLost

if TYPE_CHECKING:
    from celery_locks import events

#: So many losses are remembered until the pool has noticed that their processes are gone, which takes it ten seconds.
REMEMBERED = 1000


class _LostWithProcess(LockLost, WorkerLostError):
    """For the worker a lost process, after which Celery puts the job back where that is wished for.

    For all others it is a `LockLost`: a client that reads the result need not know this module.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return LockLost, self.args


_LostWithProcess.__module__ = LockLost.__module__
_LostWithProcess.__name__ = _LostWithProcess.__qualname__ = LockLost.__name__

_lost: OrderedDict[str, events.Lost] = OrderedDict()


def remember() -> None:
    """Note which jobs lose their leases from now on."""
    signals.lost.connect(_note)


def explained(info: Any, task_id: str) -> Any:
    """The failure of a job whose process is gone; one that says why, if it was ended for the job's lease."""
    error = getattr(info.exception, "exc", info.exception)
    event = _lost.pop(task_id, None) if isinstance(error, WorkerLostError) else None
    if event is None:
        return info
    text = (
        f"the lease of {event.key!r} is gone: {event.reason}. The process of the job was ended before another could"
        " have the key (lock_on_lost='kill'): check what was done"
    )
    try:
        raise _LostWithProcess(text, event.key)  # noqa: TRY301 - a failure is made of what was raised
    except _LostWithProcess:
        return ExceptionInfo()


def _note(event: events.Lost) -> None:
    if event.task_id:
        _lost[event.task_id] = event
        if len(_lost) > REMEMBERED:
            _lost.popitem(last=False)
