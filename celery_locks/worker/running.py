"""What the threads of this process do, green ones too, for each owner of a lock."""

from __future__ import annotations

import gc
import sys
import traceback
from typing import TYPE_CHECKING

from celery_locks.execution import Execution

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def running() -> dict[str, list[str]]:
    """The stack of the thread that runs each job. Of another process nothing is seen from here."""
    found = {}
    for top in _tops():
        for owner in _owners(top):
            found[owner] = [line.rstrip() for line in traceback.format_stack(top)]
    return found


def _tops() -> list[FrameType]:
    # No generator: its frame would be this thread's latest, and one that waits knows no caller.
    tops = [*sys._current_frames().values()]  # noqa: SLF001 - its only name
    green = sys.modules.get("greenlet")
    if green is not None:
        # Those that wait have no thread, and no list has them all. To ask an object for its class may be to make it.
        waiting = [each for each in gc.get_objects() if issubclass(type(each), green.greenlet)]
        tops += [each.gr_frame for each in waiting if each.gr_frame is not None]
    return tops


def _owners(frame: FrameType | None) -> Iterator[str]:
    while frame:
        execution = frame.f_locals.get("self") if frame.f_code is Execution.run.__code__ else None
        if isinstance(execution, Execution):
            yield execution.owner
        frame = frame.f_back
