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

from celery_locks.board import CLAIMED, FREE, LEAVING, barrier
from celery_locks.errors import StoreUnavailable
from celery_locks.kept import Kept, pace, watch_afresh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.board import Board
    from celery_locks.keeper import Keeper
    from celery_locks.kept import OnLost
    from celery_locks.lease import Claim, Lease
    from celery_locks.ward import Ward

logger = logging.getLogger("celery_locks.keeper")

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

    def claims(self, keeper: Keeper, claim: Claim) -> bool:
        """Show a claim before it is made: if this process dies, its parent gives back what it may have taken.

        False when it could not be shown.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            self._warn("more than %d locks are held at once", len(self._slots))
            return False
        is_shown = False
        try:
            is_shown = self._region.claim(slot, self._entry(keeper, claim))
        finally:
            if is_shown:
                self._slots[claim.owner] = slot
            else:
                self._free.append(slot)
        if not is_shown:
            self._warn("%.60s... is too long", claim.shown)
        return is_shown

    def keeps(self, lease: Lease, interval: float, on_lost: OnLost) -> Ward | None:
        """Have a lease renewed whose claim was shown."""
        slot = self._slots.get(lease.owner)
        if slot is None or lease.deadline is None:
            return None
        kept = Kept(self._region, slot, interval, on_lost)
        self._entrust(kept, lease, lease.deadline)
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
    def away(self, lease: Lease) -> Iterator[Callable[[], bool]]:
        """Take a lease into one's own hands, to renew it for another length of time.

        It gives a question to be asked after that: whether the parent has renewed it too, meanwhile.
        """
        slot, kept = self._slots.get(lease.owner), lease.news
        if slot is None or not isinstance(kept, Kept):
            yield lambda: False
            return
        self._region.move(slot, CLAIMED)
        barrier()
        try:
            began = self._beat_over(slot, lease)
            kept.pause()
            yield lambda: self._beat_over(slot, lease) != began
        finally:
            # What is lost is not entrusted again: it would be reported again too.
            if lease.deadline is not None and not lease.is_over:
                kept.interval *= lease.ttl / kept.ttl
                self._entrust(kept, lease, lease.deadline)

    def _entry(self, keeper: Keeper, claim: Claim) -> tuple[object, ...]:
        key, owner, ttl, task, task_id, ticket = claim[:6]
        ticket_name = ticket.name if ticket else None
        return self._pid, keeper.number, key, owner, ttl, task, task_id, ticket_name, claim.others

    def _entrust(self, kept: Kept, lease: Lease, deadline: float) -> None:
        ttl = lease.ttl
        term = (deadline, ttl, kept.interval, lease.fence_of(lease.key), kept.on_lost, lease.until)
        head = self._region.hold(kept.slot, term)
        kept.begin(head, lease, since := deadline - ttl)
        barrier()
        if since + pace(kept.interval, ttl) < self._board.wakes_at:
            self._ring()

    def await_beat(self, owner: str) -> None:
        """Wait for a beat of the parent that is under way for a lease that is about to be given back."""
        slot, until = self._slots.get(owner), time.monotonic() + PATIENCE
        barrier()
        while slot is not None and self._region.is_beating(slot) and time.monotonic() < until:
            time.sleep(0.001)

    def _beat_over(self, slot: int, lease: Lease) -> float:
        """When the parent's last beat for it began, which is over. Raises `LockLost` if that has found it lost."""
        until = time.monotonic() + PATIENCE
        while self._region.is_beating(slot):
            if time.monotonic() > until:
                # Of two renewals that meet in the store nobody knows whose ttl counts.
                raise StoreUnavailable(
                    f"the lease of {lease.claim.shown} is being renewed, and the store does not answer"
                )
            time.sleep(0.001)
        lease.hear()
        if lease.is_over:
            raise lease.loss()
        return self._region.began(slot)

    def warns_of_strangers(self) -> None:
        """Say that it does not know the keeper of a lease."""
        self._warn("a Locks was made in a process of the pool, and not before that began")

    def _warn(self, why: str, *facts: object) -> None:
        if why not in self._warned:
            self._warned.add(why)
            logger.warning(
                f"{why}: some leases are renewed by a thread of process %d itself, which a C call may starve",  # noqa: G004
                *facts,
                self._pid,
            )


#: The parent of this process, where it is one of a worker's pool and its parent keeps leases.
mine: Parent | None = None


def adopt(parent: Parent | None) -> None:
    """Note whose child this process is."""
    global mine  # noqa: PLW0603 - a process has one parent
    mine = parent
    watch_afresh()


# A process that a job forks is not known to the worker.
os.register_at_fork(after_in_child=lambda: adopt(None))
