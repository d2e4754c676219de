"""Who may send: one beat at a time, for as long as it holds a lease that its own loop renews."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from celery_locks.errors import LockLost, StoreUnavailable
from celery_locks.lease import Busy, Claim, Lease, new_owner
from celery_locks.options import BEATS_A_TTL
from celery_locks.stores import Inspects
from celery_locks.surely import surely

if TYPE_CHECKING:
    from celery_locks.guard import Guard
    from celery_locks.stores import Store

logger = logging.getLogger("celery_locks.beat")

#: Who stands by looks this often whether the lead was given back, and after an outage.
LOOK = 1.0
#: And so long after the lease of the leader is over.
MARGIN = 0.01


class Lead:
    """The lease of one beat on the lead, or its wait for it.

    No thread renews it: a loop that hangs loses the lead, and another beat sends.
    """

    def __init__(self, guard: Guard, key: str, ttl: float) -> None:
        self.key, self.ttl = key, ttl
        self.lease: Lease | None = None
        #: Who else was last seen to lead.
        self.leader: str | None = None
        #: Whether the store did not answer when it was asked last.
        self.is_out = False
        self._guard = guard

    def seek(self) -> float:
        """Take the lead, or keep it: 0.0 while it is ours, else the seconds until this is to be called again."""
        try:
            return 0.0 if self._is_kept() else self._sought()
        except StoreUnavailable as error:
            self.doubt(error)
            # Also if the lead is still ours: nothing could be noted, and so nothing be sent.
            return LOOK

    @property
    def store(self) -> Store:
        """Where it lies."""
        return self._guard.store

    @property
    def fence(self) -> int:
        """The fence of our lease."""
        return self.lease.fence if self.lease else 0

    def held(self) -> bool:
        """Whether the lead is ours, by the clock: to be asked right before something is sent."""
        return self.lease is not None and self.lease.held()

    def is_due(self) -> bool:
        """Whether it is time to renew the lease, of which a beat is over."""
        return self.renews_in() <= 0.0

    def renews_in(self) -> float:
        """Seconds until the lease is to be renewed."""
        if self.lease is None:
            return 0.0
        left = self.lease.remaining
        return self.ttl if left is None else left - self.ttl * (1 - 1 / BEATS_A_TTL)

    def lose(self, reason: str) -> None:
        """Note that somebody else may lead."""
        self.lease = None
        logger.warning(
            "beat: lost the lead %r, nothing is sent from here: %s. One that stands still or is busy for longer than"
            " lock_beat_ttl=%g loses it: raise that if this beat was merely slow",
            self.key, reason, self.ttl,
        )  # fmt: skip

    def doubt(self, error: StoreUnavailable) -> None:
        """Say once that the store cannot be reached: until it can, nothing is sent."""
        if not self.is_out:
            logger.warning("beat: nothing is sent until the store answers: %s", error)
        self.is_out = True

    def hear(self) -> None:
        """Note that the store has answered."""
        if self.is_out:
            logger.info("beat: the store answers again")
        self.is_out = False

    def leave(self) -> None:
        """Give the lead back, so that another beat takes it at its next look."""
        lease, self.lease = self.lease, None
        if lease is not None:
            surely(self._guard.ended, lease)
            logger.info("beat: gave back the lead %r", self.key)

    def _is_kept(self) -> bool:
        lease = self.lease
        if lease is None:
            return False
        try:
            if not lease.held():
                raise lease.loss()
            if self.is_due():
                self._guard.renew(lease, self.ttl)
                self.hear()
        except LockLost:
            self.lose(lease.reason or "its ttl ran out")
            surely(self._guard.ended, lease)
            return False
        return True

    def _sought(self) -> float:
        store = self._guard.store
        # A look is no request: nobody counts it as a conflict.
        holding = store.inspect(self.key) if isinstance(store, Inspects) else None
        if holding is None:
            outcome = self._asked()
            if isinstance(outcome, Lease):
                self.lease, self.leader = outcome, None
                self.hear()
                logger.info("beat: we lead %r, fence %d", self.key, outcome.fence)
                return 0.0
            holder, remaining = outcome.holder, outcome.remaining
        else:
            holder, remaining = holding.owner, holding.remaining
        if holder != self.leader:
            logger.info("beat: standing by, %s leads %r", holder, self.key)
        self.leader = holder
        self.hear()
        return LOOK if remaining is None else max(MARGIN, min(LOOK, remaining + MARGIN))

    def _asked(self) -> Lease | Busy:
        claim = Claim(self.key, new_owner("beat"), self.ttl)
        try:
            return self._guard.enter(claim)
        except BaseException as error:
            surely(self._guard.interrupted, claim, error)
            raise
