"""The renewal of many leases by one request to every node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celery_locks.lease import Lease, Verdict
from celery_locks.stores.redlock import scripts
from celery_locks.stores.redlock.ask import Ask
from celery_locks.stores.redlock.names import Names, kept_ms
from celery_locks.stores.redlock.outage import unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.errors import StoreUnavailable
    from celery_locks.stores.redlock.ring import Ring

AT_ONCE = 500
#: For so long, at least, a beat hears the nodes that the majority did not need.
LINGER = 0.01


class Renewal:
    """A lease that the majority still has is renewed, and written down anew where it is missing.

    A node that was restarted empty, or was not there when the key was taken, has it after a beat that hears it: else
    one more loss would end a lease that most nodes could keep.
    """

    def __init__(self, leases: Sequence[Lease], names: Names, number: int, retention_ms: int) -> None:
        self._parts = [_Part(leases[start : start + AT_ONCE], names) for start in range(0, len(leases), AT_ONCE)]
        self._number = number
        self._retention_ms = retention_ms

    def make(self, ring: Ring) -> list[Verdict] | StoreUnavailable:
        """A verdict for each lease, in their order."""
        asks = [part.ask for part in self._parts]
        took = ring.ask(asks, lambda: all(part.is_clear(ring) for part in self._parts))
        by_part = [part.verdicts(ring) for part in self._parts]
        verdicts = [verdict for each in by_part for verdict in each]
        if Verdict.UNKNOWN not in verdicts:
            # For those that lack a lease to say so, also after a new connection. Nobody waits for a beat.
            ring.linger(asks, min(max(LINGER, 2 * took), ring.timeout - took), took)
        elif all(verdict is Verdict.UNKNOWN for verdict in verdicts):
            return unavailable(ring, asks)
        for part, each in zip(self._parts, by_part, strict=True):
            self._mend(ring, part, [verdict is Verdict.RENEWED for verdict in each])
        return verdicts

    def _mend(self, ring: Ring, part: _Part, renewed: Sequence[bool]) -> None:
        """Write the leases that were renewed down on the nodes that lack them, also on those that say so later."""
        for node, answer in part.ask.answers.items():
            if lacking := part.lacking(renewed, answer):
                ring.tell(self._written(ring, part.names, lacking), [node])

        def late(answer: Sequence[int]) -> Ask | None:
            # Perhaps a beat later, when some of them may be over.
            lacking = [lease for lease in part.lacking(renewed, answer) if lease.held()]
            return self._written(ring, part.names, lacking) if lacking else None

        part.ask.sequel = late

    def _written(self, ring: Ring, names: Names, leases: Sequence[Lease]) -> Ask:
        places = [name for lease in leases for name in names.of(lease.key)]
        owned = [word for lease in leases for word in (lease.owner, kept_ms(lease.ttl), lease.fence)]
        until = time.monotonic() + ring.timeout
        return Ask(scripts.SETTLE, places, (self._retention_ms, self._number, *owned), until).closed()


class _Part:
    """As many leases as fit one request."""

    def __init__(self, leases: Sequence[Lease], names: Names) -> None:
        self.leases = leases
        self.names = names
        words = [word for lease in leases for word in (lease.owner, kept_ms(lease.ttl))]
        self.ask = Ask(scripts.RENEW, [names.lock(lease.key) for lease in leases], words)

    def is_clear(self, ring: Ring) -> bool:
        return len(self.ask.answers) >= ring.majority and Verdict.UNKNOWN not in self.verdicts(ring)

    def verdicts(self, ring: Ring) -> list[Verdict]:
        """Unknown where neither those that have it nor those that lack it decide."""
        heard = [*self.ask.answers.values()]
        least = len(ring.nodes) - ring.majority
        had = [sum(each) for each in zip(*heard, strict=True)] if heard else [0] * len(self.leases)
        return [
            Verdict.RENEWED if each >= ring.majority else Verdict.LOST if len(heard) - each > least else Verdict.UNKNOWN
            for each in had
        ]

    def lacking(self, renewed: Sequence[bool], answer: Sequence[int]) -> list[Lease]:
        """The leases that were renewed and that a node lacks which gave this answer."""
        return [lease for lease, ours, had in zip(self.leases, renewed, answer, strict=True) if ours and not had]
