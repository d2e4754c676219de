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
from celery_locks.interrupt import kill
from celery_locks.kept import Doomed, Kept, pace, watch_afresh
from celery_locks.lease import Lease
from celery_locks.ticket import Stance, numbered
from celery_locks.ward import Given

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.board import Board
    from celery_locks.keeper import Keeper
    from celery_locks.kept import OnLost
    from celery_locks.lease import Claim
    from celery_locks.stores import Store
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


def _is_plain(claim: Claim) -> bool:
    """Whether it wants one key alone, and for no longer than it runs."""
    return not (claim.others or claim.shared or claim.at_least) and claim.slots == 1


class Care:
    """Has the leases of a store kept: by the parent of this process as far as it can, and by its own keeper."""

    def __init__(self, store: Store, keeper: Keeper) -> None:
        self._keeper = keeper
        self._can_be_shared = not (store.in_connection or store.in_process)
        #: The parent is told one fence a lease.
        self._needs_all_fences = store.renews_by_fence

    def claims(self, claim: Claim, beat: float | None) -> Claim:
        """A claim is about to be made; as it is to be made.

        A plain lock without a heartbeat may be meant to outlive its process, which hands its owner's name on.
        """
        if claim.at_least and claim.others and self._needs_all_fences:
            # The parent would give back at once what is to stay taken: it could not be told until when.
            return claim
        if mine is None or not (self._can_be_shared and self._keeper.is_inherited and (beat is not None or claim.task)):
            return claim
        ticket, is_shown = claim.ticket, mine.claims(self._keeper, claim)
        if is_shown and ticket and ticket.stance is Stance.WAITS_IF_NEXT and beat is not None and _is_plain(claim):
            # The key may be handed over to it: if this process dies before it knows, its parent gives it back.
            return claim._replace(ticket=numbered(ticket))
        return claim

    def watch(self, lease: Lease, interval: float, on_lost: OnLost) -> None:
        """Beat for a lease from now on."""
        kept = mine.keeps(lease, interval, on_lost) if mine is not None and self._can_tell(lease) else None
        if kept is not None:
            self._keeper.watch_later(Given(lease, interval, on_lost, kept))
        elif on_lost is kill:
            self._keeper.watch(lease, interval, on_lost, Doomed(lease))
        else:
            self._keeper.watch(lease, interval, on_lost)
        if mine is not None and self._can_be_shared and not self._keeper.is_inherited and interval < lease.ttl:
            mine.warns_of_strangers()

    def _can_tell(self, lease: Lease) -> bool:
        return not (self._needs_all_fences and lease.claim.others)

    def forget(self, held: Lease | Claim) -> None:
        """Beat for it no more: it is about to be given back."""
        self._keeper.forget(held)
        if mine is not None:
            mine.leaves(held.owner)

    def leave(self, lease: Lease) -> bool:
        """Give back one whose key may have to stay taken for a while; False when it was not ours any more."""
        if mine is not None:
            mine.await_beat(lease.owner)
        return self._keeper.leave(lease)

    def left(self, held: Lease | Claim) -> None:
        """It is given back, or was never taken."""
        if isinstance(held, Lease):
            # A parent that is about to end this process for its loss has said so by now. It is not to hit the next job.
            held.hear()
        self._keeper.settle(held)
        if mine is not None:
            mine.left(held.owner)

    def renew(self, lease: Lease, ttl: float) -> bool:
        """Renew a lease now, for `ttl` seconds from now on; False when the store says that it is gone."""
        if mine is None:
            return self._keeper.renew(lease, ttl)
        with mine.away(lease) as is_met:
            ours = self._keeper.renew(lease, ttl)
            # Of two renewals that meet in the store nobody knows whose ttl counts.
            return self._keeper.renew(lease, ttl) if ours and is_met() else ours
