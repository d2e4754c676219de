"""Says what is wrong with how a worker is told to carry a beat."""

from __future__ import annotations

from typing import Any

from celery_locks.annotation import Refused

_SCHEDULER = "LockedScheduler"


def check_beat(w: Any, *, is_carried: bool) -> None:
    """Refuse the `-S` of `celery beat`, which a worker takes for the file of its state.

    Celery's own scheduler would send: every job once for each worker.
    """
    if is_carried and _SCHEDULER in str(w.statedb or ""):
        raise Refused(
            "of a worker -S names the file of its state, and not the scheduler of its beat: write --scheduler"
            f" celery_locks.beat.{_SCHEDULER}, or set beat_scheduler"
        )
