"""Memory that a worker's main process shares with its pool: which leases the pool holds, and how they fare.

No lock guards it and nobody waits for anybody. A record carries a checksum that begins with its slot's serial number:
one that is half written, or that belongs to an earlier lease, is not read. A slot's head is one aligned word, so it
changes in one step, and it changes last.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import threading
from typing import TYPE_CHECKING, Any
from zlib import crc32

from celery_locks import record

if TYPE_CHECKING:
    from celery_locks.record import Entry, News, Term

#: A slot is free; or its claim may have been granted; or its lease is to be kept; or it is being given back.
FREE, CLAIMED, HELD, LEAVING = range(4)

#: How many leases one process can hold at once so that others see them.
SLOTS = 256
_PAGE = 4096
_SLOT = 2048
_REGION = _PAGE + SLOTS * _SLOT

# What a slot has where. The process that holds the lease writes its claim, how it is to be kept and what it does about
# it itself. Its parent writes the rest.
_LEASE, _NEWS, _OWN, _BEGAN, _ENDED, _CLAIM = 0, 64, 320, 560, 568, 576
_FRAME = struct.Struct("=II")
_FRAME_SIZE = _FRAME.size
#: The longest claim that fits, in bytes.
ROOM = _SLOT - _CLAIM - _FRAME_SIZE

# A slot's head: the serial number of its claim, how often its lease was shown anew, its state.
_SHOWN, _SERIAL = 2, 18
_ALL_SHOWN = (1 << _SERIAL) - (1 << _SHOWN)

# Words of a region's first page.
_PID, _USED, _BIRTHS, _PAPER, _HEADS = 0, 1, 2, 3, 8
_LOW = 0xFFFFFFFF


class Board:
    """The whole of it: a region for each process of the pool, and when the main process looks at it next."""

    def __init__(self, regions: int, fd: int = -1) -> None:
        size = _PAGE + regions * _REGION
        if fd >= 0 and os.fstat(fd).st_size < size:
            # A file is shared with processes that are not forked from this one.
            os.ftruncate(fd, size)
        # Untouched pages cost nothing.
        self._memory = memoryview(mmap.mmap(fd, size))
        self._wakes_at = self._memory[:8].cast("d")
        if fd < 0 or not self.wakes_at:
            self.wakes_at = math.inf
        self.regions = [Region(self._memory[at : at + _REGION]) for at in range(_PAGE, len(self._memory), _REGION)]

    @property
    def wakes_at(self) -> float:
        """When the main process looks at the board next without being rung for."""
        return self._wakes_at[0]

    @wakes_at.setter
    def wakes_at(self, when: float) -> None:
        self._wakes_at[0] = when


class Region:
    """The slots of one process, and of those that had its place before."""

    def __init__(self, memory: memoryview) -> None:
        self._words = memory[:_PAGE].cast("Q")
        self._slots = memory[_PAGE:]
        self._times = memory[_PAGE:].cast("d")

    @property
    def pid(self) -> int:
        """The process whose place it is; 0: it was never used."""
        return self._words[_PID]

    @property
    def births(self) -> int:
        """How many processes have had the place. A process may have the number of its predecessor."""
        return self._words[_BIRTHS]

    @property
    def paper(self) -> int:
        """The file in which its process writes what it does when it is asked; 0: it is not to be asked."""
        return self._words[_PAPER]

    @paper.setter
    def paper(self, fd: int) -> None:
        self._words[_PAPER] = fd

    def settle(self, pid: int) -> list[int]:
        """Take the place; the slots that are free, the lowest last. Those of a predecessor are its parent's to free."""
        self.paper = 0
        self._words[_PID] = pid
        self._words[_BIRTHS] += 1
        return [slot for slot in reversed(range(SLOTS)) if self.state(slot) == FREE]

    def used(self) -> range:
        """The slots that were ever used."""
        return range(self._words[_USED])

    def head(self, slot: int) -> int:
        """A number that a slot has for one state of one lease, and never again."""
        return self._words[_HEADS + slot]

    def state(self, slot: int) -> int:
        """What is in a slot."""
        return self.head(slot) & 3

    def move(self, slot: int, state: int) -> int:
        """Put the same lease into another state; the slot's head from now on."""
        at = _HEADS + slot
        head = self._words[at] = self._words[at] & ~3 | state
        return head

    def claim(self, slot: int, entry: tuple[Any, ...]) -> bool:
        """Show what is asked for, an `Entry`, in a slot that was free or ours; False when it does not fit."""
        text = record.entry_to_bytes(entry)
        if len(text) > ROOM:
            return False
        serial = (self._words[_HEADS + slot] >> _SERIAL) + 1
        head = serial << _SERIAL | CLAIMED
        self._write(slot, serial, _CLAIM, text)
        if slot >= self._words[_USED]:
            self._words[_USED] = slot + 1
        self._words[_HEADS + slot] = head
        return True

    def entry(self, slot: int) -> Entry | None:
        """What was asked for in a slot; None when that cannot be told."""
        text = self._read(slot, self.head(slot) >> _SERIAL, _CLAIM, ROOM)
        return record.entry_from_bytes(text) if text else None

    def hold(self, slot: int, term: tuple[Any, ...]) -> int:
        """Show that the claim was granted, and how the lease is to be kept, a `Term`; the slot's head from now on.

        A lease that is shown anew has another head, and the claim it had: whoever dies meanwhile has shown that.
        """
        at = _HEADS + slot
        head = self._words[at]
        head = head >> _SERIAL << _SERIAL | head + (1 << _SHOWN) & _ALL_SHOWN | HELD
        self._write(slot, _mark(head), _LEASE, record.term_to_bytes(term))
        self._words[at] = head
        return head

    def term(self, slot: int) -> Term | None:
        """How the lease in a slot is to be kept; None when that cannot be told."""
        data = self._read(slot, _mark(self.head(slot)), _LEASE, record.TERM_SIZE)
        return record.term_from_bytes(data) if data else None

    def tell(self, slot: int, head: int, news: News) -> None:
        """Show what became of the lease that has this head."""
        self._write(slot, _mark(head), _NEWS, record.news_to_bytes(news))

    def news(self, slot: int, head: int) -> News | None:
        """What became of the lease that has this head; None when its parent has not told yet."""
        return self._heard(slot, head, _NEWS)

    def tell_own(self, slot: int, head: int, news: News) -> None:
        """Show what the process did itself about the lease that has this head, while its parent was silent."""
        self._write(slot, _mark(head), _OWN, record.news_to_bytes(news))

    def own_news(self, slot: int, head: int) -> News | None:
        """What the process itself has to tell of the lease that has this head, if it has."""
        return self._heard(slot, head, _OWN)

    def begin(self, slot: int, now: float) -> None:
        """Note that its parent begins to renew what is in this slot."""
        self._times[(slot * _SLOT + _BEGAN) // 8] = now

    def end(self, slot: int, now: float) -> None:
        """Note that this renewal is over, with an answer or without."""
        self._times[(slot * _SLOT + _ENDED) // 8] = now

    def began(self, slot: int) -> float:
        """When its parent last began to renew what was in this slot."""
        return self._times[(slot * _SLOT + _BEGAN) // 8]

    def ended(self, slot: int) -> float:
        """When its parent last had something to tell of what was in this slot."""
        return self._times[(slot * _SLOT + _ENDED) // 8]

    def is_beating(self, slot: int) -> bool:
        """Whether a renewal is under way."""
        at = slot * _SLOT
        return self._times[(at + _BEGAN) // 8] > self._times[(at + _ENDED) // 8]

    def _heard(self, slot: int, head: int, where: int) -> News | None:
        data = self._read(slot, _mark(head), where, record.NEWS_SIZE)
        return record.news_from_bytes(data) if data else None

    def _write(self, slot: int, mark: int, where: int, data: bytes) -> None:
        at, size = slot * _SLOT + where, len(data)
        self._slots[at : at + _FRAME_SIZE + size] = _FRAME.pack(size, crc32(data, mark & _LOW)) + data

    def _read(self, slot: int, mark: int, where: int, room: int) -> bytes | None:
        at = slot * _SLOT + where
        length, checksum = _FRAME.unpack_from(self._slots, at)
        at += _FRAME_SIZE
        data = bytes(self._slots[at : at + min(length, room)])
        return data if data and checksum == crc32(data, mark & _LOW) else None


def barrier() -> None:
    """Let others see what was written before anything else is read.

    Processors put a write off until after a read that follows it. Taking a lock, one that nobody has, ends that.
    """
    threading.Lock().acquire()


def _mark(head: int) -> int:
    """What a lease's records carry: the same for all its states, another for whatever else was in its slot."""
    return head >> _SHOWN ^ head >> 32 + _SHOWN
