"""The names of owners."""

from __future__ import annotations

import functools
import os


@functools.cache
def _process() -> str:
    return f"{os.uname().nodename}:{os.getpid()}"


os.register_at_fork(after_in_child=_process.cache_clear)


def new_owner(name: str = "lock") -> str:
    """A name for one execution, never given twice: what runs, where, and 64 random bits."""
    return f"{name}@{_process()}#{os.urandom(8).hex()}"
