"""One beat: many leases are renewed in one request, and it is proven that they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from celery_locks.lease import Verdict
from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.leases import Granted, end
from celery_locks.stores.etcd.mending import Full, LeaseUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celery_locks.stores.etcd.leases import Leases
    from celery_locks.stores.etcd.messages import Taken
    from celery_locks.stores.etcd.naming import Names
    from celery_locks.stores.etcd.wire import Talk


class Wanted(NamedTuple):
    """A lock that is to be renewed, for so many seconds."""

    names: Names
    ttl: int


class _Beat(NamedTuple):
    """An answer of who keeps leases alive: the ttl it has again, 0 when it is over, and the term of that leader."""

    ttl: int
    term: int


class Renewal:
    """Gives locks their full ttl again, for one verb."""

    def __init__(self, talk: Talk, leases: Leases) -> None:
        self._talk = talk
        self._leases = leases

    def renewed(self, locks: Sequence[Wanted]) -> list[Verdict]:
        """Renew all, and say which of them are still held.

        First all leases are kept alive, in one request. Then their locks are looked at, a hundred in one request. The
        look is what proves the renewal: a leader that was replaced without knowing it goes on keeping leases alive
        that nobody else knows of, but it cannot answer a look. What was renewed in another leader's term is renewed
        again.
        """
        verdicts: dict[int, Verdict | None] = dict.fromkeys(range(len(locks)))
        while open_ := [place for place, verdict in verdicts.items() if verdict is None]:
            asked = [locks[place] for place in open_]
            granted = [self._leases.of(lock.names) for lock in asked]
            alive = self._kept_alive([each.number for each in granted if each])
            for place, lock, known, look in zip(open_, asked, granted, self._looks(asked), strict=True):
                verdicts[place] = self._verdict(lock, known, look, alive.get(known.number) if known else None)
        return [verdict for verdict in verdicts.values() if verdict]

    def move(self, names: Names, number: int, taken: Taken) -> bool:
        """Put a lock under a new lease and end the former; False when it has changed meanwhile."""
        try:
            answer = self._talk.ask(messages.TXN, messages.move(names, number, taken))
        except LeaseUnknown:
            return False
        now = next(iter(messages.found(answer)), None)
        # It has changed by our own doing when the first answer was lost.
        moved = bool(answer.get("succeeded")) or (now is not None and now.lease == number)
        end(self._talk, taken.lease if moved else number)
        return moved

    def _verdict(
        self, lock: Wanted, known: Granted | None, look: tuple[Taken | None, int], beat: _Beat | None
    ) -> Verdict | None:
        """What is now known of a lock; None when it has to be asked again."""
        taken, term = look
        if taken is None or taken.owner != lock.names.owner:
            return self._lost(lock)
        if known is None or known.number != taken.lease:
            # Another process has granted it.
            self._leases.remember(lock.names, Granted(taken.lease))
            return None
        if beat is None or beat.term != term:
            return None
        if not beat.ttl:
            return self._lost(lock)
        if lock.ttl == known.ttl or (known.ttl is None and beat.ttl >= lock.ttl):
            return Verdict.RENEWED
        # Its ttl was changed. The new lease is kept alive like the others, and so proven.
        self.move(lock.names, self._leases.grant(self._talk, lock.names, lock.ttl), taken)
        return None

    def _lost(self, lock: Wanted) -> Verdict:
        self._leases.forget(lock.names)
        return Verdict.LOST

    def _kept_alive(self, numbers: Sequence[int]) -> dict[int, _Beat]:
        if not numbers:
            return {}
        answers = self._talk.ask_all(messages.KEEP_ALIVE, [messages.one(number) for number in dict.fromkeys(numbers)])
        return {int(answer["ID"]): _Beat(int(answer.get("TTL", 0)), messages.term(answer)) for answer in answers}

    def _looks(self, locks: Sequence[Wanted]) -> Iterator[tuple[Taken | None, int]]:
        for start in range(0, len(locks), messages.AT_ONCE):
            yield from self._page([lock.names.lock for lock in locks[start : start + messages.AT_ONCE]])

    def _page(self, names: Sequence[str]) -> list[tuple[Taken | None, int]]:
        try:
            answer = self._talk.ask(messages.TXN, messages.look_at(names))
            return [(taken, messages.term(answer)) for taken in messages.found(answer)]
        except Full:
            # Before 3.4.20 and 3.5.5 a full etcd refuses every transaction, also one that only looks.
            answers = [self._talk.ask(messages.RANGE, messages.look(name)) for name in names]
            return [(next(messages.shown(answer), None), messages.term(answer)) for answer in answers]
