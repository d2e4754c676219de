"""Makes `celery inspect locks` a command that Celery knows. What a worker answers is told in `celery_locks.worker`."""

from __future__ import annotations

import sys
import time
from typing import Any


def offer() -> None:
    """Tell Celery's command line of it, where that is what runs."""
    control: Any = sys.modules.get("celery.worker.control")
    # In a worker it may be there already.
    if control and "locks" not in control.Panel.data:
        control.inspect_command(name="locks", signature="[stacks=False]", args=[("stacks", _yes_or_no)])(_nothing)


def _nothing(_state: Any, **_: Any) -> dict[str, Any]:
    """Locks that a worker holds, and jobs that wait in it; with stacks what its holders do now."""
    # Said by a worker that has no locked task: one that has answers by itself.
    return {"holds": [], "waits": [], "clock": time.time()}


def _yes_or_no(text: str) -> bool:
    return text.lower() in ("1", "true", "yes", "on", "stacks")
