"""Keeps, in a worker's main process, the leases that its pool holds, and gives back those of a process that dies."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

from celery_locks.board import FREE, HELD, barrier
from celery_locks.kept import pace
from celery_locks.pool.burial import Left, await_done, bury
from celery_locks.pool.child import Child, shown
from celery_locks.pool.deaths import Bell, Deaths
from celery_locks.rounds import leave_signals_to_main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.board import Board, Region
    from celery_locks.lease import Lease

logger = logging.getLogger("celery_locks.worker")

#: The board is looked at again after this part of the shortest interval on it: a lease like those is then seen in time.
SOON = 0.8
#: After the last lease is gone the next may come without ringing, for this many seconds.
LINGER = 1.0
_LONGEST = 3600.0
#: What is half written is read again after this many seconds.
_AT_ONCE = 0.005


class Children:
    """The processes of a pool and what they hold."""

    def __init__(self, board: Board, bell: Bell, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.deaths = Deaths(bell)
        self._board = board
        self._held: dict[tuple[int, int], Child] = {}
        #: How many processes have had each place, as far as we know of them.
        self._births = [0] * len(board.regions)
        self._burying = threading.Lock()
        self._was_idle = True
        self._is_half_read = False

    def start(self) -> None:
        """Look after them from now on, from a thread of its own, until this process ends."""
        threading.Thread(target=self._go, name="celery_locks-children", daemon=True).start()

    def look(self) -> None:
        """Have that kept which is held now, and forget what is not."""
        # First the time of the next look, then this one: whoever comes in between rings.
        self._board.wakes_at = math.inf
        barrier()
        for place, region in enumerate(self._board.regions):
            if region.births != self._births[place]:
                self._meet(place, region)
            for slot in region.used():
                self._see(place, region, slot)
        self._board.wakes_at = self._next_look()

    def bury(self, pid: int) -> None:
        """Give back whatever a dead process held, or may have asked for."""
        # Whoever waits for what is given back is to see that it is, and not that its slot is free already.
        with self._burying:
            bury(list(self._left_by(pid)))

    def bury_all(self, longest: float) -> None:
        """Give back what all hold, who are dead: this process is about to end too, and waits for that."""
        for region in self._board.regions:
            self.bury(region.pid)
        await_done(longest)

    def leases(self) -> list[Lease]:
        """What the pool holds at this moment, as its processes show it: we may not have looked since."""
        slots = [(region, slot) for region in self._board.regions for slot in region.used()]
        found = (shown(*each, self.clock) for each in slots if each[0].state(each[1]) == HELD)
        return [lease for lease in found if lease]

    def region_of(self, pid: int) -> Region | None:
        """Where this process shows what it holds, if it lives as far as we know."""
        return next((region for region in self._board.regions if region.pid == pid), None)

    def _go(self) -> None:
        leave_signals_to_main()
        while True:
            try:
                self._round()
            except Exception:  # noqa: PERF203 - whatever it is, the leases of the whole pool depend on it
                logger.exception("looking after the pool's leases failed, and is tried again in a second")
                time.sleep(1.0)

    def _round(self) -> None:
        self.look()
        for dead in self.deaths.wait(max(0.0, min(self._board.wakes_at - self.clock(), _LONGEST))):
            self.bury(dead)

    def _meet(self, place: int, region: Region) -> None:
        """Another process has the place: its predecessor is dead, whether we have seen that one or not."""
        self._births[place] = region.births
        self.deaths.expect(region.pid)
        entries = [region.entry(slot) for slot in region.used() if region.state(slot) != FREE]
        for pid in {entry.pid for entry in entries if entry} - {region.pid}:
            self.bury(pid)

    def _see(self, place: int, region: Region, slot: int) -> None:
        child, head = self._held.get((place, slot)), region.head(slot)
        if child is not None and child.head != head:
            del self._held[place, slot]
            child.forget()
        elif child is not None:
            return
        if head & 3 == HELD:
            self._take_up(place, region, slot)

    def _take_up(self, place: int, region: Region, slot: int) -> None:
        entry, term = region.entry(slot), region.term(slot)
        if entry is None or term is None:
            self._is_half_read = True
            return
        child = Child(region, slot, entry, term, strike=self.deaths.strike, clock=self.clock)
        self._held[place, slot] = child
        child.watch()

    def _next_look(self) -> float:
        now = self.clock()
        if self._is_half_read:
            self._is_half_read = False
            return now + _AT_ONCE
        intervals = [pace(child.interval, child.lease.ttl) for child in self._held.values()]
        was_idle, self._was_idle = self._was_idle, not intervals
        if intervals:
            return now + SOON * min(intervals)
        return math.inf if was_idle else now + LINGER

    def _left_by(self, pid: int) -> Iterator[Left]:
        for place, region in enumerate(self._board.regions):
            for slot in region.used():
                entry, state = region.entry(slot), region.state(slot)
                if state != FREE and entry is not None and entry.pid == pid:
                    child, term = self._held.get((place, slot)), region.term(slot)
                    region.move(slot, FREE)
                    self._see(place, region, slot)
                    yield Left(entry, state, child, *((term.ttl, term.fence, term.until) if term else (entry.ttl,)))
