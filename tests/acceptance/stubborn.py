"""Jobs that make it hard to keep their leases: they hold the interpreter, or many locks."""

from __future__ import annotations

import ctypes
from typing import Any

from tests.acceptance.tasks import app, declare, noted, stays_open

__all__ = ["app"]

#: Called through this, a C function keeps the interpreter to itself until it returns.
_C = ctypes.PyDLL(None)


def holds_the_interpreter(self: Any, key: str, job: str, seconds: float) -> str:
    """Let no other thread of this process run for so long, the one of a heartbeat among them."""
    with noted(self, key, job):
        _C.usleep(int(seconds * 1e6))
    return job


declare("holds_the_interpreter", holds_the_interpreter, lock_ttl=1.0)
declare("holds_the_interpreter_or_dies", holds_the_interpreter, lock_ttl=2.0, lock_on_lost="kill")
declare("five_minutes", stays_open, lock_ttl=300.0)
declare("five_minutes_without_beat", stays_open, lock_ttl=300.0, lock_heartbeat=False)
