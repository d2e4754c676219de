"""What a process of a worker's pool shows its parent of the leases it holds, and hears from it.

The parent renews them: its heartbeat needs nothing from the process that runs the job, which a C call may keep from
running anything else. It also gives back what is held by a process that dies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING

from celery_locks.board import CLAIMED, FREE, LEAVING
from celery_locks.errors import StoreUnavailable
from celery_locks.interrupt import kill
from celery_locks.ward import Ward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.board import Board, Region
    from celery_locks.keeper import Keeper
    from celery_locks.lease import Claim, Lease
    from celery_locks.stores import Store

    OnLost = Callable[[Lease], None] | None

logger = logging.getLogger("celery_locks.keeper")

#: What the loss of a lease does to its job: nothing, an exception, the end of its process.
FLAG, RAISE, KILL = range(3)
#: A process renews its lease itself when its parent has not for this many intervals.
OVERDUE = 1.5
#: A renewal by hand waits so long, in seconds, for the parent's beat that is under way.
PATIENCE = 5.0


class Parent:
    """The worker's main process, as a process of its pool sees it."""

    def __init__(self, board: Board, index: int, ring: Callable[[], None]) -> None:
        self._board = board
        self._ring = ring
        self._pid = os.getpid()
        self._region = board.regions[index]
        self._free = self._region.settle(self._pid)
        self._slots: dict[str, int] = {}
        self._warned: set[str] = set()
        # So that it knows of this process before anything is held here.
        ring()

    def claims(self, keeper: Keeper, claim: Claim) -> None:
        """Show a claim before it is made: if this process dies, its parent gives back what it may have taken."""
        try:
            slot = self._free.pop()
        except IndexError:
            self._warn("more than %d locks are held at once", len(self._slots))
            return
        if self._show(slot, keeper, claim, claim.ttl):
            self._slots[claim.owner] = slot
        else:
            self._free.append(slot)
            self._warn("the key %.60r... is too long", claim.key)

    def keeps(self, lease: Lease, interval: float, on_lost: OnLost) -> Ward | None:
        """Have a lease renewed whose claim was shown."""
        slot = self._slots.get(lease.owner)
        if slot is None or lease.deadline is None:
            return None
        kept = Kept(self._region, slot, interval, on_lost)
        self._entrust(kept, lease)
        return kept

    def leaves(self, owner: str) -> None:
        """It is about to be given back."""
        slot = self._slots.get(owner)
        if slot is not None:
            self._region.move(slot, LEAVING)

    def left(self, owner: str) -> None:
        """It is given back, or was never taken."""
        slot = self._slots.pop(owner, None)
        if slot is not None:
            self._region.move(slot, FREE)
            self._free.append(slot)

    @contextlib.contextmanager
    def away(self, keeper: Keeper, lease: Lease) -> Iterator[None]:
        """Take a lease into one's own hands, to renew it for another length of time."""
        slot, kept = self._slots.get(lease.owner), lease.news
        if slot is None or not isinstance(kept, Kept):
            yield
            return
        self._region.move(slot, CLAIMED)
        try:
            self._wait_for_beat(slot, lease)
            yield
        finally:
            kept.interval *= lease.ttl / kept.ttl
            if self._show(slot, keeper, lease.claim, lease.ttl):
                self._entrust(kept, lease)

    def _show(self, slot: int, keeper: Keeper, claim: Claim, ttl: float) -> bool:
        key, owner, _, task, task_id, _ = claim
        return self._region.claim(slot, (self._pid, keeper.number, key, owner, ttl, task, task_id))

    def _entrust(self, kept: Kept, lease: Lease) -> None:
        deadline = lease.deadline
        if deadline is None:
            return
        head = self._region.hold(kept.slot, (deadline, kept.interval, lease.fence, kept.on_lost))
        kept.begin(head, lease, since := deadline - lease.ttl)
        if since + kept.interval < self._board.wakes_at:
            self._ring()

    def _wait_for_beat(self, slot: int, lease: Lease) -> None:
        until = time.monotonic() + PATIENCE
        while self._region.is_beating(slot):
            if time.monotonic() > until:
                # Of two renewals that meet in the store nobody knows whose ttl counts.
                raise StoreUnavailable(f"the lease of {lease.key!r} is being renewed, and the store does not answer")
            time.sleep(0.001)
        lease.hear()

    def _warn(self, why: str, *facts: object) -> None:
        if why not in self._warned:
            self._warned.add(why)
            logger.warning(
                f"{why}: some leases are renewed by a thread of process %d itself, which a C call may starve",  # noqa: G004
                *facts,
                self._pid,
            )


class Kept(Ward):
    """A lease that our parent keeps: what it shows of it. Ours to renew only when it does not."""

    #: The parent is the first to tell of a loss, also when both of us were stopped and go on.
    margin = -0.5

    def __init__(self, region: Region, slot: int, interval: float, on_lost: OnLost) -> None:
        self.slot = slot
        self.interval = interval
        self.on_lost = FLAG if on_lost is None else KILL if on_lost is kill else RAISE
        self.ttl = 0.0
        self._on_lost = on_lost
        self._region = region
        self._head = 0
        self._since = self._heard = 0.0

    def begin(self, head: int, lease: Lease, since: float) -> None:
        """It is kept from then on, for its ttl of now."""
        self._head, self._since, self._heard, self.ttl = head, since, since, lease.ttl
        lease.news = self

    def __call__(self, lease: Lease) -> None:
        """Take note of what the parent shows."""
        if self._region.ended(self.slot) < self._since:
            return
        news = self._region.news(self.slot, self._head)
        if news is None:
            return
        if news.is_lost:
            # Reported by the parent, which has sent a signal too. One that was sent while this process was stopped may
            # have come to a thread that it does not interrupt.
            if lease.lose(news.reason) and self._on_lost:
                self._on_lost(lease)
        elif lease.deadline is not None and news.deadline > lease.deadline:
            lease.extend(news.deadline)

    def due(self, due: float) -> float | None:
        """Half an interval late, counted from when the parent last tried."""
        began = self._region.began(self.slot)
        if began > self._heard:
            self._heard = began
        elif due > self._since + self.interval:
            # We have beaten already, and know better when to do it next.
            return due
        return self._heard + OVERDUE * self.interval

    def begins(self, now: float) -> bool:
        """The parent has not renewed it: say so, once a process."""
        if not _orphans:
            _orphans.append(now)
            logger.warning("the worker's main process does not renew our leases: process %d does it now", os.getpid())
        return True


_orphans: list[float] = []
#: The parent of this process, where it is one of a worker's pool and its parent keeps leases.
mine: Parent | None = None


def adopt(parent: Parent | None) -> None:
    """Note whose child this process is."""
    global mine  # noqa: PLW0603 - a process has one parent
    mine = parent
    _orphans.clear()


# A process that a job forks is not known to the worker.
os.register_at_fork(after_in_child=lambda: adopt(None))


class Care:
    """Has the leases of a store kept: by the parent of this process as far as it can, and by its own keeper."""

    def __init__(self, store: Store, keeper: Keeper) -> None:
        self._keeper = keeper
        self._can_be_shared = not (store.in_connection or store.in_process)

    def claims(self, claim: Claim, beat: float | None) -> None:
        """A claim is about to be made.

        A plain lock without a heartbeat may be meant to outlive its process, which hands its owner's name on.
        """
        if mine is not None and self._can_be_shared and self._keeper.is_inherited and (beat is not None or claim.task):
            mine.claims(self._keeper, claim)

    def watch(self, lease: Lease, interval: float, on_lost: OnLost) -> None:
        """Beat for a lease from now on."""
        kept = mine.keeps(lease, interval, on_lost) if mine is not None else None
        if kept is None:
            self._keeper.watch(lease, interval, on_lost)
        else:
            self._keeper.watch(lease, interval, on_lost, kept)

    def forget(self, held: Lease | Claim) -> None:
        """Beat for it no more: it is about to be given back."""
        self._keeper.forget(held)
        if mine is not None:
            mine.leaves(held.owner)

    def left(self, held: Lease | Claim) -> None:
        """It is given back, or was never taken."""
        if mine is not None:
            mine.left(held.owner)

    def renew(self, lease: Lease, ttl: float) -> bool:
        """Renew a lease now, for `ttl` seconds from now on; False when the store says that it is gone."""
        if mine is None:
            return self._keeper.renew(lease, ttl)
        with mine.away(self._keeper, lease):
            return self._keeper.renew(lease, ttl)
