"""Has leases beaten for: by the worker's main process as far as it can, and else by a thread of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks import parent
from celery_locks.interrupt import kill
from celery_locks.kept import Doomed
from celery_locks.lease import Lease
from celery_locks.ticket import Stance, numbered
from celery_locks.ward import Given

if TYPE_CHECKING:
    from celery_locks.keeper import Keeper
    from celery_locks.kept import OnLost
    from celery_locks.lease import Claim
    from celery_locks.stores import Store


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
        if parent.mine is None or not (
            self._can_be_shared and self._keeper.is_inherited and (beat is not None or claim.task)
        ):
            return claim
        ticket, is_shown = claim.ticket, parent.mine.claims(self._keeper, claim)
        if is_shown and ticket and ticket.stance is Stance.WAITS_IF_NEXT and beat is not None and _is_plain(claim):
            # The key may be handed over to it: if this process dies before it knows, its parent gives it back.
            return claim._replace(ticket=numbered(ticket))
        return claim

    def watch(self, lease: Lease, interval: float, on_lost: OnLost) -> None:
        """Beat for a lease from now on."""
        mine = parent.mine
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
        if parent.mine is not None:
            parent.mine.leaves(held.owner)

    def leave(self, lease: Lease) -> bool:
        """Give back one whose key may have to stay taken for a while; False when it was not ours any more."""
        if parent.mine is not None:
            parent.mine.await_beat(lease.owner)
        return self._keeper.leave(lease)

    def left(self, held: Lease | Claim) -> None:
        """It is given back, or was never taken."""
        if isinstance(held, Lease):
            # A parent that is about to end this process for its loss has said so by now. It is not to hit the next job.
            held.hear()
        self._keeper.settle(held)
        if parent.mine is not None:
            parent.mine.left(held.owner)

    def renew(self, lease: Lease, ttl: float) -> bool:
        """Renew a lease now, for `ttl` seconds from now on; False when the store says that it is gone."""
        if parent.mine is None:
            return self._keeper.renew(lease, ttl)
        with parent.mine.away(lease) as is_met:
            ours = self._keeper.renew(lease, ttl)
            # Of two renewals that meet in the store nobody knows whose ttl counts.
            return self._keeper.renew(lease, ttl) if ours and is_met() else ours
