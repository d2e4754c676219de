"""The names of owners: how they are made, and what they say: what runs, for which message, where."""

from __future__ import annotations

import functools
import os
import re
from typing import NamedTuple

#: As `new_owner` writes it. What comes before the place may hold any letter.
_WRITTEN = re.compile(r"(?P<what>.*)@(?P<host>[^@]*):(?P<pid>[0-9]+)#[0-9a-f]+", re.DOTALL)
#: What an RQ job's name begins with: no worker of Celery knows of such a one.
OF_RQ = "rq:"
_JOB = re.compile(rf"({OF_RQ})?(?P<task>[^\[]*)\[(?P<id>.*)\]", re.DOTALL)
#: A workflow that has its key between two of its tasks, or beneath those of a group. No task has such an id.
_STEP = re.compile(r"baton\[(?P<step>[0-9][0-9.]*|error)\]@")
#: What a lock is called that is taken by no job.
PLAIN = "lock"


@functools.cache
def _process() -> str:
    return f"{os.uname().nodename}:{os.getpid()}"


os.register_at_fork(after_in_child=_process.cache_clear)


def new_owner(name: str = PLAIN) -> str:
    """A name for one execution, never given twice: what runs, where, and 64 random bits."""
    return f"{name}@{_process()}#{os.urandom(8).hex()}"


class Owner(NamedTuple):
    """An owner's name, and what it says; nothing of one that a program has chosen itself."""

    name: str
    task: str | None = None
    task_id: str | None = None
    host: str | None = None
    pid: int | None = None
    #: Whether it is, or stands for, a job of RQ.
    is_rq: bool = False

    @classmethod
    def of(cls, name: str) -> Owner:
        """Read a name."""
        written = _WRITTEN.fullmatch(name)
        if not written:
            return cls(name)
        what, host, pid = written.groups()
        if _STEP.match(name):
            return cls(name, None, None, host, int(pid))
        job = _JOB.fullmatch(what)
        of_rq, task, task_id = job.groups() if job else (None, None if what == PLAIN else what, None)
        return cls(name, task, task_id, host, int(pid), of_rq is not None)

    @property
    def step(self) -> str | None:
        """The step of a workflow for which the key is held, on its way or by a group; None where it is of none."""
        found = _STEP.match(self.name)
        return found["step"] if found else None

    @property
    def brief(self) -> str:
        """The name without the random letters that make it one of its own."""
        return self.name if self.pid is None else self.name.rpartition("#")[0]
