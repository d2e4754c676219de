"""Memory that a worker's main process shares with its pool: which leases the pool holds, and how they fare.

No lock guards it and nobody waits for anybody. A record carries a checksum that begins with its slot's serial number:
one that is half written, or that belongs to an earlier lease, is not read. A slot's head is one aligned word, so it
changes in one step, and it changes last.
"""

from __future__ import annotations

import marshal
import math
import mmap
import struct
from typing import Any, NamedTuple
from zlib import crc32

#: A slot is free; or its claim may have been granted; or its lease is to be kept; or it is being given back.
FREE, CLAIMED, HELD, LEAVING = range(4)

#: How many leases one process can hold at once so that others see them.
SLOTS = 256
_PAGE = 4096
_SLOT = 1024
_REGION = _PAGE + SLOTS * _SLOT

# What a slot has where. The first two records are written by the process that holds the lease, the rest by its parent.
_CLAIM, _LEASE, _NEWS, _BEGAN, _ENDED = 384, 0, 128, 368, 376
_LEASE_FORM = struct.Struct("=ddqI")
_REASON = 192
_NEWS_FORM = struct.Struct(f"=dII{_REASON}s")
_FRAME = struct.Struct("=II")
_FRAME_SIZE = _FRAME.size
#: The longest claim that fits, in bytes.
ROOM = _SLOT - _CLAIM - _FRAME_SIZE

# Words of a region's first page.
_PID, _USED, _HEADS = 0, 1, 8
_LOW = 0xFFFFFFFF


class Entry(NamedTuple):
    """A claim, the process that asks, and the number of the keeper that it has in common with its parent."""

    pid: int
    keeper: int
    key: str
    owner: str
    ttl: float
    task: str | None
    task_id: str | None


class Term(NamedTuple):
    """How a lease is to be kept: until when it is held now, how often to beat, and what its loss does to its job."""

    deadline: float
    interval: float
    fence: int
    on_lost: int


class News(NamedTuple):
    """What became of a lease: until when it is held, or why it is lost."""

    deadline: float
    is_lost: bool
    reason: str


class Board:
    """The whole of it: a region for each process of the pool, and when the main process looks at it next."""

    def __init__(self, regions: int) -> None:
        # Untouched pages cost nothing.
        self._memory = memoryview(mmap.mmap(-1, _PAGE + regions * _REGION))
        self._wakes_at = self._memory[:8].cast("d")
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

    def settle(self, pid: int) -> list[int]:
        """Take the place; the slots that are free, the lowest last. Those of a predecessor are its parent's to free."""
        self._words[_PID] = pid
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
        text = marshal.dumps(entry)
        if len(text) > ROOM:
            return False
        head = (self._words[_HEADS + slot] | 3) + 1 | CLAIMED
        self._write(slot, head, _CLAIM, text)
        if slot >= self._words[_USED]:
            self._words[_USED] = slot + 1
        self._words[_HEADS + slot] = head
        return True

    def entry(self, slot: int) -> Entry | None:
        """What was asked for in a slot; None when that cannot be told."""
        text = self._read(slot, self.head(slot), _CLAIM, ROOM)
        return Entry(*marshal.loads(text)) if text else None  # noqa: S302 - written by our own child, and checked

    def hold(self, slot: int, term: tuple[Any, ...]) -> int:
        """Show that the claim was granted, and how the lease is to be kept, a `Term`; the slot's head from now on."""
        at = _HEADS + slot
        head = self._words[at] & ~3 | HELD
        self._write(slot, head, _LEASE, _LEASE_FORM.pack(*term))
        self._words[at] = head
        return head

    def term(self, slot: int) -> Term | None:
        """How the lease in a slot is to be kept; None when that cannot be told."""
        data = self._read(slot, self.head(slot), _LEASE, _LEASE_FORM.size)
        return Term(*_LEASE_FORM.unpack(data)) if data else None

    def tell(self, slot: int, head: int, news: News) -> None:
        """Show what became of the lease that has this head."""
        reason = news.reason.encode()[:_REASON]
        self._write(slot, head, _NEWS, _NEWS_FORM.pack(news.deadline, news.is_lost, len(reason), reason))

    def news(self, slot: int, head: int) -> News | None:
        """What became of the lease that has this head; None when nobody has told yet."""
        data = self._read(slot, head, _NEWS, _NEWS_FORM.size)
        if data is None:
            return None
        deadline, is_lost, length, reason = _NEWS_FORM.unpack(data)
        return News(deadline, bool(is_lost), reason[:length].decode(errors="replace"))

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

    def _write(self, slot: int, head: int, where: int, data: bytes) -> None:
        at, size = slot * _SLOT + where, len(data)
        _FRAME.pack_into(self._slots, at, size, crc32(data, head >> 2 & _LOW))
        self._slots[at + _FRAME_SIZE : at + _FRAME_SIZE + size] = data

    def _read(self, slot: int, head: int, where: int, room: int) -> bytes | None:
        at = slot * _SLOT + where
        length, checksum = _FRAME.unpack_from(self._slots, at)
        at += _FRAME_SIZE
        data = bytes(self._slots[at : at + min(length, room)])
        return data if data and checksum == crc32(data, head >> 2 & _LOW) else None
