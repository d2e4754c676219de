"""Locks in the majority of several independent Redis servers (Redlock). Each server's own clock ends a lease."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store
from celery_locks.stores.naming import require_name
from celery_locks.stores.notes import Notes
from celery_locks.stores.redlock import scripts
from celery_locks.stores.redlock.address import Address, parse
from celery_locks.stores.redlock.ask import Ask
from celery_locks.stores.redlock.attempt import Attempt, Split
from celery_locks.stores.redlock.condition import RedlockCondition
from celery_locks.stores.redlock.looking import Scan, look
from celery_locks.stores.redlock.names import Names, kept_ms
from celery_locks.stores.redlock.outage import unavailable
from celery_locks.stores.redlock.renewal import Renewal
from celery_locks.stores.redlock.ring import Rings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict
    from celery_locks.stores.redlock.ring import Ring

T = TypeVar("T")

#: Where nobody got a majority all undo what they have and try again, after a random pause out of these seconds.
PAUSES = (0.004, 0.008, 0.016, 0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3)
#: Farther than clocks go, and as far as Lua counts exactly.
HIGHEST = 2**52


class RedlockStore(RedlockCondition, Store, Inspects, Notes):
    """On each node one string a lock, that expires with its lease, and one beside it that remembers the last fence.

    Whoever has it on a majority has the lock. Exclusion holds while nodes keep their memory and no clock, theirs or
    ours, runs more than a hundredth faster than another. The fence is what tells holders apart where they do not.
    """

    why_no_crowds = "a majority of independent servers can agree on one holder, and not on a set of holders"
    renews_by_fence = True
    fence_is_time = True

    def __init__(
        self, address: Address, *, prefix: str = DEFAULT_PREFIX, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._address = address
        self._rings = Rings(address)
        self._names = Names(prefix)
        self._name = address.shown
        self._retention_ms = math.ceil(address.seconds["fence_retention"] * 1000)
        self._latest = 0

    def __repr__(self) -> str:
        return f"<RedlockStore {self._name}>"

    def acquire(self, claim: Claim) -> Lease | Busy:
        attempt = self._attempt(claim)
        with self._rings.one(lambda: attempt.farewell().in_full) as ring:
            outcome = attempt.make(ring, self.clock)
            for pause in PAUSES:
                if not isinstance(outcome, Split):
                    break
                time.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
                attempt = self._attempt(claim)
                outcome = attempt.make(ring, self.clock)
        if isinstance(outcome, StoreUnavailable):
            raise outcome
        return outcome.busy if isinstance(outcome, Split) else outcome

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        if not leases:
            return []
        renewal = Renewal(leases, self._names, self._number(), self._retention_ms)
        with self._rings.one() as ring:
            outcome = renewal.make(ring)
        return _said(outcome)

    def release(self, claim: Claim) -> bool:
        """True when a majority had it; that was ours, then, until now.

        A node that had lost it, and one that had it although the majority had not, change nothing about that. Where the
        nodes that do not answer would decide, the store cannot say.
        """
        # It may have been renewed for longer than the claim says; and to be told late does no harm.
        until = time.monotonic() + max(claim.ttl, self._retention_ms / 1000)
        names = self._names.of(claim.key)
        return self._agreed(Ask(scripts.RELEASE, names, (claim.owner, self._retention_ms), until))

    def undo(self, claim: Claim) -> None:
        """Taken back by all nodes; what one of them hears late is older than the owner's next attempt."""
        names, until = self._names.of(claim.key)[:1], time.monotonic() + claim.ttl
        ask = Ask(scripts.UNDO, names, (claim.owner, self._number()), until)
        with self._rings.one() as ring:
            ring.ask([ask], lambda: len(ask.answers) >= ring.majority)

    def inspect(self, key: str) -> Holding | None:
        require_name(key)
        with self._rings.one() as ring:
            shown = look(ring, [key], self._names)
        return _said(shown)[0]

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        scan = Scan(self._names.glob(pattern))
        while not scan.is_over:
            with self._rings.one() as ring:
                page = scan.page(ring)
                keys = [] if isinstance(page, StoreUnavailable) else [self._names.key(name) for name in page]
                shown = look(ring, keys, self._names) if keys else []
            _said(page)
            yield from (holding for holding in _said(shown) if holding)

    def force_release(self, key: str) -> bool:
        return self._agreed(Ask(scripts.FORCE_RELEASE, self._names.of(key), (self._retention_ms,)))

    def note(self, name: str, seconds: float) -> None:
        if not self._agreed(Ask(scripts.NOTE, [self._names.note(name)], (kept_ms(seconds),))):
            raise StoreUnavailable(f"{self._name}: not enough servers have kept a note")

    def is_noted(self, name: str) -> bool:
        """Noted on a majority, it is seen by any other."""
        ask = Ask(scripts.IS_NOTED, [self._names.note(name)], ())
        with self._rings.one() as ring:
            ring.ask([ask], lambda: len(ask.answers) >= ring.majority)
            answer = any(ask.answers.values()) if len(ask.answers) >= ring.majority else unavailable(ring, [ask])
        return _said(answer)

    def close(self) -> None:
        self._rings.close()

    def _attempt(self, claim: Claim) -> Attempt:
        return Attempt(claim, self._names.of(claim.key), self._number(), self._retention_ms)

    def _number(self) -> int:
        """A number that grows from each to the next, and mostly along with all clocks."""
        self._latest = max(self._latest + 1, min(time.time_ns() // 1000, HIGHEST))
        return self._latest

    def _agreed(self, ask: Ask) -> bool:
        """Whether a majority says 1."""
        with self._rings.one() as ring:
            ring.ask([ask], lambda: _vote(ring, ask) is not None)
            vote = _vote(ring, ask)
            outcome = unavailable(ring, [ask]) if vote is None else vote
        return _said(outcome)


def _vote(ring: Ring, ask: Ask) -> bool | None:
    """What the majority says; None while that cannot be told."""
    ayes = sum(ask.answers.values())
    if ayes >= ring.majority:
        return True
    return False if len(ask.answers) - ayes > len(ring.nodes) - ring.majority else None


def _said(outcome: T | StoreUnavailable) -> T:
    if isinstance(outcome, StoreUnavailable):
        raise outcome
    return outcome


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> RedlockStore:
    """A store for redlock:// or, with TLS, redlocks://."""
    return RedlockStore(parse(url, options), prefix=prefix)
