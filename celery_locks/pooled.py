"""What this process is to a worker's prefork pool."""

from __future__ import annotations

from billiard.process import current_process


def is_pooled() -> bool:
    """Whether it is a child of such a pool, and may be ended without ending the worker."""
    return bool(getattr(current_process(), "_daemonic", False))


def place() -> int:
    """Where in the pool it is."""
    return int(getattr(current_process(), "index", None) or 0)
