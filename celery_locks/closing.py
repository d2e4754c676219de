"""Calls back those who wait in their slots when their worker is about to end.

The worker's processes share a piece of memory and look at it: nobody is sent anything, and nobody waits for a lock.
"""

from __future__ import annotations

import mmap
import time
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

#: A worker goes on; it ends and is done with what its pool says first; it ends and hears nothing more of its pool.
NOT, SOON, AT_ONCE = range(3)
#: Those who wait look at the memory this often, in seconds.
LOOK = 0.2
#: A worker that breaks off its jobs gives those who wait so many seconds to go.
GRACE = 2.0
_PLACES = 4096


class Closing:
    """What a worker's main process tells its pool of its end, and which processes have somebody who waits.

    Where the pool is the main process itself, which cannot be told anything while it works, `asked` says how it ends.
    """

    def __init__(self, asked: Callable[[], int] = lambda: NOT) -> None:
        # What is not touched costs nothing: a byte for each process, then the last job of each that went back.
        self._memory = memoryview(mmap.mmap(-1, 5 * _PLACES))
        self._gone = self._memory[_PLACES:].cast("I")
        self._waiting: set[str] = set()
        self._asked = asked

    @property
    def how(self) -> int:
        """How the worker is about to end, if it is."""
        return self._memory[0] or self._asked()

    def begin(self, how: int) -> None:
        """Call back all who wait."""
        self._memory[0] = max(how, self._memory[0])

    def settle(self, place: int) -> None:
        """A new process has this place: whoever waited there died with the old one."""
        self._memory[_at(place)] = 0

    def enter(self, owner: str, place: int) -> None:
        """One that can go back may wait from now on, in the process that has this place."""
        self._waiting.add(owner)
        self._memory[_at(place)] = 1

    def leave(self, owner: str, place: int) -> None:
        """It does not wait any more: it runs, or has gone back."""
        self._waiting.discard(owner)
        if not self._waiting:
            self._memory[_at(place)] = 0

    def has(self, owner: str) -> bool:
        """Whether this one waits here."""
        return owner in self._waiting

    def calls(self, owner: str) -> bool:
        """Whether this one is to go back now."""
        return self.has(owner) and self.how != NOT

    def goes(self, task_id: str, place: int) -> None:
        """The job of this id has gone back."""
        self._gone[_at(place)] = crc32(task_id.encode())

    def has_gone(self, task_id: str) -> bool:
        """Whether the job of this id was the last of its process to go back."""
        return self.how != NOT and crc32(task_id.encode()) in self._gone.tolist()

    def let_all_go(self, longest: float = GRACE) -> None:
        """Wait until all who wait have gone."""
        until = time.monotonic() + longest
        while any(self._memory[1:_PLACES]) and time.monotonic() < until:
            time.sleep(0.01)


#: That of the worker this process belongs to, if it belongs to one.
mine: Closing | None = None


def adopt(closing: Closing) -> Closing:
    """Note which worker this process, and those forked from it, belong to."""
    global mine  # noqa: PLW0603 - a process has one worker
    mine = closing
    return closing


def calls(owner: str) -> bool:
    """Whether this owner waits in its slot and is to go back now, because its worker is about to end."""
    return mine is not None and mine.calls(owner)


def may_call(owner: str) -> bool:
    """Whether this owner waits in its slot and can go back."""
    return mine is not None and mine.has(owner)


def nap(woken: threading.Event, longest: float, owner: str) -> None:
    """Sleep until woken, or called, or the time is over."""
    if not may_call(owner):
        woken.wait(longest)
        return
    until = time.monotonic() + longest
    while not calls(owner) and (left := until - time.monotonic()) > 0 and not woken.wait(min(left, LOOK)):
        pass


def _at(place: int) -> int:
    return 1 + place % (_PLACES - 1)
