"""Keeps, in a worker's main process, the leases that its pool holds, and gives back those of a process that dies."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from typing import TYPE_CHECKING

from celery_locks import events, signals
from celery_locks.board import CLAIMED, FREE, HELD, LEAVING, News
from celery_locks.errors import StoreUnavailable
from celery_locks.interrupt import SIGNAL
from celery_locks.keeper import Keeper
from celery_locks.lease import Claim, Lease, State
from celery_locks.parent import KILL, RAISE
from celery_locks.rounds import leave_signals_to_main
from celery_locks.ward import Ward
from celery_locks.worker.deaths import Bell, Deaths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.board import Board, Entry, Region, Term

logger = logging.getLogger("celery_locks.worker")

#: The board is looked at again after this part of the shortest interval on it: a lease like those is then seen in time.
SOON = 0.8
#: After the last lease is gone the next may come without ringing, for this many seconds.
LINGER = 1.0
#: What a dead process held is given back once more after this many seconds: a request of its own may come late.
ONCE_MORE = 1.0
#: A lease counts as lost so long before its end, as a part of its ttl and at most in seconds: time to end the process,
#: or to be the first who tells.
MARGINS = {KILL: (0.2, 2.0)}
MARGIN = (0.05, 0.5)
_LONGEST = 3600.0
#: What is half written is read again after this many seconds.
_AT_ONCE = 0.005
#: How many keys a log line names.
_SHOWN = 3


class Child(Ward):
    """A lease that a process of the pool holds, as its slot on the board shows it."""

    def __init__(self, region: Region, slot: int, entry: Entry, term: Term, family: Children) -> None:
        self.head = region.head(slot)
        self.keeper = Keeper.numbered(entry.keeper)
        claim = Claim(entry.key, entry.owner, entry.ttl, entry.task, entry.task_id)
        self.lease = Lease(claim, term.fence, term.deadline, family.clock)
        self.interval = term.interval
        part, most = MARGINS.get(term.on_lost, MARGIN)
        self.margin = min(part * entry.ttl, most)
        self._region, self._slot = region, slot
        self._pid, self._on_lost = entry.pid, term.on_lost
        self._clock = family.clock
        self._strike = family.deaths.strike

    def is_held(self) -> bool:
        """Whether the process holds it still."""
        return self._region.head(self._slot) == self.head

    def due(self, due: float) -> float | None:
        """As it is, as long as it is held."""
        return due if self.is_held() else None

    def begins(self, now: float) -> bool:
        """Say so first and look then: whoever takes the lease into its own hands does it the other way round."""
        self._region.begin(self._slot, now)
        if self.is_held():
            return True
        self._region.end(self._slot, now)
        return False

    def ended(self, lease: Lease, now: float) -> None:
        """Show until when it is held."""
        if lease.deadline is not None and lease.state in (State.HELD, State.UNKNOWN):
            self._region.tell(self._slot, self.head, News(lease.deadline, is_lost=False, reason=""))
        self._region.end(self._slot, now)

    def lost(self, lease: Lease) -> None:
        """End the job, as its task wishes."""
        self._region.tell(self._slot, self.head, News(-math.inf, is_lost=True, reason=lease.reason))
        self._region.end(self._slot, self._clock())
        if self._on_lost == KILL:
            logger.critical("the lease of %r is lost: ending process %d (lock_on_lost='kill')", lease.key, self._pid)
            self._strike(self._pid, signal.SIGKILL)
        elif self._on_lost == RAISE:
            self._strike(self._pid, SIGNAL)


class Children:
    """The processes of a pool and what they hold."""

    def __init__(self, board: Board, bell: Bell, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.deaths = Deaths(bell)
        self._board = board
        self._held: dict[tuple[int, int], Child] = {}
        #: Who was the last to die in a place: it has the name of the dead until another takes it.
        self._buried: dict[int, int] = {}
        self._was_idle = True
        self._is_half_read = False

    def start(self) -> None:
        """Look after them from now on, from a thread of its own, until this process ends."""
        threading.Thread(target=self._go, name="celery_locks-children", daemon=True).start()

    def look(self) -> None:
        """Have that kept which is held now, and forget what is not."""
        # First the time of the next look, then this one: whoever comes in between rings.
        self._board.wakes_at = math.inf
        for place, region in enumerate(self._board.regions):
            if region.pid:
                if region.pid != self._buried.get(place):
                    self.deaths.expect(region.pid)
                for slot in region.used():
                    self._see(place, region, slot)
        self._board.wakes_at = self._next_look()

    def bury(self, pid: int) -> None:
        """Give back whatever a dead process held, or may have asked for."""
        entries = list(self._left_by(pid))
        if entries:
            # A store that hangs must not hold up the others.
            threading.Thread(target=_bury, args=(entries,), name="celery_locks-dead", daemon=True).start()

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

    def _see(self, place: int, region: Region, slot: int) -> None:
        child, head = self._held.get((place, slot)), region.head(slot)
        if child is not None and child.head != head:
            del self._held[place, slot]
            if child.keeper:
                child.keeper.forget(child.lease)
        elif child is not None:
            return
        if head & 3 == HELD:
            self._take_up(place, region, slot)

    def _take_up(self, place: int, region: Region, slot: int) -> None:
        entry, term = region.entry(slot), region.term(slot)
        if entry is None or term is None:
            self._is_half_read = True
            return
        child = Child(region, slot, entry, term, self)
        self._held[place, slot] = child
        if child.keeper is not None:
            child.keeper.watch(child.lease, child.interval, child.lost, child)

    def _next_look(self) -> float:
        now = self.clock()
        if self._is_half_read:
            self._is_half_read = False
            return now + _AT_ONCE
        intervals = [child.interval for child in self._held.values()]
        was_idle, self._was_idle = self._was_idle, not intervals
        if intervals:
            return now + SOON * min(intervals)
        return math.inf if was_idle else now + LINGER

    def _left_by(self, pid: int) -> Iterator[Entry]:
        for place, region in enumerate(self._board.regions):
            if region.pid == pid:
                self._buried[place] = pid
            for slot in region.used():
                if region.state(slot) in (CLAIMED, HELD, LEAVING):
                    entry = region.entry(slot)
                    if entry is not None and entry.pid == pid:
                        region.move(slot, FREE)
                        self._see(place, region, slot)
                        yield entry


def _bury(entries: list[Entry]) -> None:
    leave_signals_to_main()
    _give_back(entries)


def _give_back(entries: list[Entry]) -> None:
    freed = [entry for entry in entries if _is_given_back(entry)]
    if freed:
        _say_freed(freed)
    until = time.monotonic() + max(entry.ttl for entry in entries)
    time.sleep(ONCE_MORE)
    left = [entry for entry in entries if _is_given_back(entry) is None]
    while left and time.monotonic() < until:
        time.sleep(ONCE_MORE)
        left = [entry for entry in left if _is_given_back(entry) is None]


def _say_freed(entries: list[Entry]) -> None:
    keys = ", ".join(repr(entry.key) for entry in entries[:_SHOWN]) + (", ..." if len(entries) > _SHOWN else "")
    logger.warning("process %d died and held %s: given back", entries[0].pid, keys)
    for entry in entries:
        event = events.Freed(entry.key, entry.owner, task=entry.task, task_id=entry.task_id, pid=entry.pid)
        signals.freed.send(event)


def _is_given_back(entry: Entry) -> bool | None:
    """Release what a dead process had; None when the store does not say."""
    keeper = Keeper.numbered(entry.keeper)
    if keeper is None:
        return False
    try:
        return keeper.give_back(Claim(entry.key, entry.owner, entry.ttl, entry.task, entry.task_id))
    except StoreUnavailable as error:
        logger.warning("%r of the dead process %d may stay taken for %g s: %s", entry.key, entry.pid, entry.ttl, error)
        return None
