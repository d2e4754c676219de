"""What the processes of a pool are doing at this moment, asked of them by their worker's main process.

A process of the pool writes where its main thread is when a signal comes, from C: also while it waits in the kernel,
and while a C call keeps the interpreter to itself. It writes to a file in memory of its own, which its parent opens.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import re
import signal
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from celery_locks.config import setting
from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Self

    from celery_locks.board import Region
    from celery_locks.config import Settings
    from celery_locks.pool.children import Children

#: Ignored by default: a process that does not listen any more is not harmed. Celery and its users have taken the others
#: that are, and those that are not end a process.
SIGNAL = signal.SIGWINCH
#: All processes together are given so many seconds: meanwhile the worker's main process does nothing else.
PATIENCE = 0.5
_LOOK = 0.002
_NAME = "celery_locks-stack"
_HEAD = b"Stack (most recent call first):\n"
_CALL = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')
#: A stack of very many calls is cut, at its oldest end.
_CUT = "  ..."
_ROOM = 1 << 20
_STATES = {"T": "it is stopped", "t": "a debugger has stopped it", "D": "it waits in the kernel and hears no signal"}


def are_wanted(conf: Settings) -> bool:
    """Whether the processes of a pool are to listen: `lock_stacks`."""
    wanted = setting(conf, "lock_stacks")
    if wanted not in (None, True, False):
        raise LockConfigError(f"lock_stacks must be True or False, not {wanted!r}")
    return wanted is None or bool(wanted)


def listen(region: Region) -> None:
    """Answer from now on, where the system can, and nobody else has the signal."""
    if not hasattr(os, "memfd_create") or signal.getsignal(SIGNAL) not in (signal.SIG_DFL, signal.SIG_IGN):
        return
    with contextlib.suppress(OSError):
        paper = os.memfd_create(_NAME)
        # Behind what is there, wherever the parent has cut it off.
        fcntl.fcntl(paper, fcntl.F_SETFL, os.O_APPEND)
        # The end of this stack, which is that of the process, is the end of all later ones.
        faulthandler.dump_traceback(paper, all_threads=False)
        # Chained to the handler before it, it would not let interrupted system calls go on by themselves.
        faulthandler.register(SIGNAL, paper, all_threads=False, chain=False)
        region.paper = paper


def stacks(children: Children, pids: Iterable[int]) -> dict[int, list[str] | str]:
    """The stacks of these processes as Python shows them, the latest call last; or why there is none, in words."""
    found: dict[int, list[str] | str] = {}
    with contextlib.ExitStack() as opened:
        asked = {}
        for pid in pids:
            paper = _paper(children, pid)
            if paper is None:
                found[pid] = f"process {pid} cannot be asked: see the page on events"
            else:
                asked[pid] = opened.enter_context(paper)
        for pid, paper in asked.items():
            paper.clear()
            children.deaths.strike(pid, SIGNAL)
        found |= _heard(asked)
    return found


def _heard(asked: dict[int, _Paper]) -> dict[int, list[str] | str]:
    found: dict[int, list[str] | str] = {}
    until = time.monotonic() + PATIENCE
    while True:
        found |= {pid: calls for pid, paper in asked.items() if pid not in found and (calls := paper.read())}
        silent = asked.keys() - found
        if not silent or time.monotonic() > until:
            return found | {pid: _why_silent(pid) for pid in silent}
        time.sleep(_LOOK)


class _Paper:
    """What a process writes on. It begins with a stack that was written when the process was born."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        text = os.pread(fd, _ROOM, 0)
        second = text.find(_HEAD, 1)
        self._first = text if second < 0 else text[:second]

    @property
    def is_begun(self) -> bool:
        """Whether there is that stack."""
        return self._first.startswith(_HEAD)

    def clear(self) -> None:
        """Leave nothing but that."""
        os.ftruncate(self._fd, len(self._first))

    def read(self) -> list[str] | None:
        """The stack behind it, once it is complete."""
        return calls(os.pread(self._fd, _ROOM, len(self._first)), self._first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _paper(children: Children, pid: int) -> _Paper | None:
    """What this process writes on, if it listens."""
    region = children.region_of(pid)
    if region is None or not region.paper:
        return None
    where = f"/proc/{pid}/fd/{region.paper}"
    try:
        # A job that has closed all there was may have a file of its own under this number.
        if _NAME not in str(Path(where).readlink()):
            return None
        paper = _Paper(os.open(where, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return None
    return paper if paper.is_begun else None


def calls(text: bytes, first: bytes) -> list[str] | None:
    """A stack as Python shows it; None while it is not complete: it ends as the first one of its process does."""
    # One that was asked for before and comes late is as good.
    head, _, rest = text.partition(_HEAD)
    written = rest.partition(_HEAD)[0]
    lines = written.decode("utf-8", "replace").splitlines()
    last = first.decode("utf-8", "replace").splitlines()[-1]
    if head or not written.endswith(b"\n") or not (lines[-1] == last or lines[-1].startswith(_CUT)):
        return None
    return list(_shown(lines))


def _shown(lines: list[str]) -> Iterator[str]:
    found = [_CALL.match(line) for line in reversed(lines)]
    summary = [traceback.FrameSummary(call[1], int(call[2]), call[3]) for call in found if call]
    return (line.rstrip() for line in traceback.StackSummary.from_list(summary).format())


def _why_silent(pid: int) -> str:
    try:
        # The name of the program, in brackets, may have spaces in it.
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return f"process {pid} is gone"
    why = _STATES.get(state, "it had no time for it, or something else has taken the signal")
    return f"process {pid} did not say it within {PATIENCE} s: {why}"
