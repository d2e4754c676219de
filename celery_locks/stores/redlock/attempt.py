"""One attempt to get a key from the majority of all nodes."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores.redlock import scripts
from celery_locks.stores.redlock.ask import Ask
from celery_locks.stores.redlock.names import kept_ms, text, until_free
from celery_locks.stores.redlock.outage import unavailable
from celery_locks.stores.redlock.votes import Votes

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.redlock.ring import Ring

#: For so long, at most, the first acquire on new connections hears the nodes that the majority did not need.
LINGER = 0.01


class Split(NamedTuple):
    """Nobody may have the majority: the attempt is undone, and another may succeed."""

    busy: Busy


class Attempt:
    """It asks all nodes at once. What it did not get from a majority it takes back from all."""

    def __init__(self, claim: Claim, names: tuple[str, str], number: int, retention_ms: int) -> None:
        self._claim = claim
        self._names = names
        self._number = number
        self._retention_ms = retention_ms
        self._ttl_ms = kept_ms(claim.ttl)
        self._until = time.monotonic() + claim.ttl

    def make(self, ring: Ring, clock: Callable[[], float]) -> Lease | Busy | Split | StoreUnavailable:
        """What came of it."""
        claim = self._claim
        deadline = clock() + claim.ttl
        ask = Ask(scripts.ACQUIRE, self._names, (claim.owner, self._ttl_ms, self._retention_ms, self._number))
        ring.ask([ask], partial(self._is_decided, ring, ask), min(ring.timeout, claim.ttl))
        votes = Votes(ask.answers, time.monotonic())
        fence = self._fence(ring, votes) if votes.granted >= ring.majority else None
        if fence is None:
            return self._refused(ring, ask, votes)
        if clock() < deadline:
            self._spread(ring, ask)
            lease = Lease(claim, fence, deadline, clock)
            lease.caveat = ring.caveat
            return lease
        self._give_up(ring)
        return StoreUnavailable(
            f"{ring.name} took longer to answer than the lease lasts ({claim.ttl:g} s): use a longer ttl"
        )

    def farewell(self) -> Ask:
        """What ends it for good: whatever it was given goes back, and its owner is refused from now on."""
        return Ask(scripts.RELEASE, self._names, (self._claim.owner, self._retention_ms), self._for_a_ttl()).closed()

    def _spread(self, ring: Ring, ask: Ask) -> None:
        """A lease on a bare majority would not outlive the loss of one node: tell also those that are late."""
        ask.until = self._until
        if ring.is_new:
            # The others are about to be connected.
            ring.linger([ask], LINGER)

    @staticmethod
    def _is_decided(ring: Ring, ask: Ask) -> bool:
        if len(ask.answers) < ring.majority:
            return False
        return Votes(ask.answers, time.monotonic()).are_enough(ring.majority, len(ring.nodes))

    def _fence(self, ring: Ring, votes: Votes) -> int | None:
        """The highest fence that any of the majority gave, once a majority has it written down."""
        fence = max(votes.fences)
        if votes.fences.count(fence) >= ring.majority:
            return fence
        arguments = (self._retention_ms, "", self._claim.owner, self._ttl_ms, fence)
        ask = Ask(scripts.SETTLE, self._names, arguments)
        ring.ask([ask], lambda: _written(ask) >= ring.majority, min(ring.timeout, self._claim.ttl))
        return fence if _written(ask) >= ring.majority else None

    def _refused(self, ring: Ring, ask: Ask, votes: Votes) -> Busy | Split | StoreUnavailable:
        if len(ask.answers) < ring.majority:
            self._give_up(ring)
            return unavailable(ring, [ask])
        if len(votes.fences) >= ring.majority > votes.granted:
            self._give_up(ring)
            return StoreUnavailable(
                f"{ring.name}: {votes.young} of the nodes that gave the key have been up for less than restart_delay"
                " and may have forgotten who has it: wait"
            )
        self._undo(ring, ask)
        return self._verdict(ring, votes)

    def _verdict(self, ring: Ring, votes: Votes) -> Busy | Split:
        if votes.done > len(ring.nodes) - ring.majority:
            return Busy()
        if votes.leader is None:
            return Split(Busy())
        holder, left = votes.leader
        busy = Busy(text(holder), until_free(left, ring.majority))
        return busy if len(left) >= ring.majority else Split(busy)

    def _undo(self, ring: Ring, ask: Ask) -> None:
        """Take back what was given. The owner may ask again, so it is not marked as done; its next attempt is safe."""
        ring.hear()
        given = [node for node, answer in ask.answers.items() if isinstance(answer, int)]
        if places := [*given, *ask.doubtful(ring.nodes)]:
            undo = Ask(scripts.UNDO, self._names[:1], (self._claim.owner, self._number), self._for_a_ttl())
            ring.tell(undo.closed(), places)

    def _for_a_ttl(self) -> float:
        # Counted from now: what was sent earlier may take effect as late as this.
        return time.monotonic() + self._claim.ttl

    def _give_up(self, ring: Ring) -> None:
        ring.tell(self.farewell(), ring.nodes)


def _written(ask: Ask) -> int:
    return sum(answer == [1] for answer in ask.answers.values())
