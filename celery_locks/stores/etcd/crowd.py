"""What etcd does about keys that several hold: a key of its own for each, under a lease of its own.

Who joins has looked first, and its transaction says at which revision: it fails if anybody has come since.
"""

from __future__ import annotations

import abc
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Holding, Lease, Verdict
from celery_locks.stores.base import Crowds
from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.forcing import seen
from celery_locks.stores.etcd.leases import end, grant, new_number
from celery_locks.stores.etcd.mending import LeaseUnknown, Refused
from celery_locks.stores.etcd.naming import Names, awaited, kind_of, lock_name, slots_name, whole_seconds
from celery_locks.stores.etcd.renewal import Renewal, Wanted
from celery_locks.stores.members import is_alone
from celery_locks.ticket import Stance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from celery_locks.lease import Claim
    from celery_locks.stores.etcd.contended import Contended
    from celery_locks.stores.etcd.leases import Leases
    from celery_locks.stores.etcd.messages import Taken
    from celery_locks.stores.etcd.wire import Talk

#: One that waits for a key alone says so for so many whole seconds, and says it again after this.
AWAITED_FOR, SAID_AGAIN = 3, 1.0
_REMEMBERED = 1000
_KINDS = ("", "r", "s")


class Around(NamedTuple):
    """A key at one moment."""

    revision: int
    lock: list[Taken]
    members: list[Taken]
    mark: list[Taken]
    awaited: list[Taken]
    slots: list[Taken]


class CrowdInEtcd(Crowds):
    """The part of an `EtcdStore` that only those meet whose key several may hold."""

    prefix: str
    clock: Callable[[], float]
    _leases: Leases
    _contended: Contended
    #: As what an owner has a key whose claim does not say so, and the lease of the word that one waits for a key.
    _kinds: dict[tuple[str, str], str]
    _waits: dict[tuple[str, str], int]

    def holders(self, key: str) -> list[Holding]:
        with self._talk() as talk:
            holders, _ = seen(talk, lock_name(self.prefix, key))
        return [self._shown(key, taken) for taken in holders]

    def slots(self, key: str) -> int | None:
        with self._talk() as talk:
            answer = talk.ask(messages.RANGE, messages.look(slots_name(lock_name(self.prefix, key))))
        return _number(messages.shown(answer))

    def set_slots(self, key: str, slots: int | None) -> None:
        name = slots_name(lock_name(self.prefix, key))
        with self._talk() as talk:
            talk.ask(messages.TXN, messages.unsay(name) if slots is None else messages.say(name, str(slots)))

    def _joined(self, talk: Talk, claim: Claim, names: Names, before: float) -> Lease | Busy:
        """Acquire for a claim that does not want its key alone."""
        granted = None
        while True:
            answer = talk.ask(messages.TXN, messages.look_around(names, slots_name(names.base)))
            around = Around(messages.revision(answer), *messages.found_all(answer))
            if around.lock and around.lock[0].owner == claim.owner:
                return self._asked(talk, claim._replace(slots=1, shared=False), self._names(claim, ""), before)
            mine = next((taken for taken in around.members if taken.name == names.lock), None)
            if not mine and not _has_room(around, names, claim):
                end(talk, self._leases.forget(names))
                return Busy() if around.mark else self._full(talk, claim.key, around)
            fence = None
            granted = granted or self._leases.grant(talk, names, whole_seconds(claim.ttl))
            with contextlib.suppress(LeaseUnknown):
                fence = self._entered(talk, names, granted, around.revision, mine)
            if fence:
                return Lease(claim, fence, before + claim.ttl, self.clock)
            granted = granted if self._lives(talk, granted) else None

    def _entered(self, talk: Talk, names: Names, lease: int, revision: int, mine: Taken | None) -> int | None:
        if mine:
            # The same owner again, for a full ttl.
            return mine.fence if mine.lease == lease or Renewal(talk, self._leases).move(names, lease, mine) else None
        answer = talk.ask(messages.TXN, messages.join(names, lease, revision))
        return messages.revision(answer) if answer.get("succeeded") else None

    def _lives(self, talk: Talk, lease: int) -> bool:
        return int(talk.ask(messages.TIME_LEFT, messages.one(lease)).get("TTL", 0)) > 0

    def _full(self, talk: Talk, key: str, around: Around) -> Busy:
        there = [*around.lock, *around.members, *around.awaited]
        self._contended.add(key, around.revision, len(there))
        holders = [*around.lock, *around.members]
        return self._busy(talk, key, holders[0], around.revision, len(there)) if holders else Busy(remaining=SAID_AGAIN)

    def _want(self, talk: Talk, claim: Claim, names: Names) -> None:
        """Say that one waits for the key alone, as long as it asks again."""
        if not claim.ticket or claim.ticket.stance is Stance.GOES:
            return
        with contextlib.suppress(StoreUnavailable, Refused):
            if len(self._waits) >= _REMEMBERED:
                self._waits.clear()
            number = self._waits[claim.key, claim.owner] = new_number()
            grant(talk, number, AWAITED_FOR)
            talk.ask(messages.TXN, messages.say(awaited(names.base), claim.owner, number))

    def _want_no_more(self, talk: Talk, claim: Claim) -> None:
        end(talk, self._waits.pop((claim.key, claim.owner), None))

    def _awaits(self, key: str) -> bool:
        return any(each == key for each, _ in [*self._waits])

    def _renew_others(self, talk: Talk, leases: Sequence[Lease]) -> list[Verdict]:
        """What becomes of leases that are not held as what their claims say."""
        asked = [
            Wanted(self._names(lease.claim, kind), whole_seconds(lease.ttl)) for lease in leases for kind in _KINDS
        ]
        said = Renewal(talk, self._leases).renewed(asked)
        verdicts = []
        for number, lease in enumerate(leases):
            ways = said[len(_KINDS) * number :][: len(_KINDS)]
            verdicts.append(Verdict.RENEWED if Verdict.RENEWED in ways else Verdict.LOST)
            if Verdict.RENEWED in ways:
                self._learn(lease.claim, _KINDS[ways.index(Verdict.RENEWED)])
        return verdicts

    def _learn(self, claim: Claim, kind: str) -> None:
        if len(self._kinds) >= _REMEMBERED:
            self._kinds.clear()
        self._kinds[claim.key, claim.owner] = kind

    def _held_as(self, talk: Talk, claim: Claim, names: Names) -> Names | None:
        """The names under which its owner has the key, if they are others."""
        ours = (taken for taken in seen(talk, names.base)[0] if taken.owner == names.owner and taken.name != names.lock)
        kinds = (kind_of(names.base, taken.name) for taken in ours)
        return next((self._names(claim, kind) for kind in kinds if kind is not None), None)

    def _kind(self, claim: Claim) -> str:
        said = "" if is_alone(claim) else "r" if claim.shared else "s"
        return self._kinds.get((claim.key, claim.owner), said) if self._kinds else said

    @abc.abstractmethod
    def _names(self, claim: Claim, kind: str | None = None) -> Names: ...

    @abc.abstractmethod
    def _asked(self, talk: Talk, claim: Claim, names: Names, before: float) -> Lease | Busy: ...

    @abc.abstractmethod
    def _busy(self, talk: Talk, key: str, taken: Taken, revision: int, count: int = 1) -> Busy: ...

    @abc.abstractmethod
    def _shown(self, key: str, taken: Taken) -> Holding: ...

    @abc.abstractmethod
    def _talk(self, timeout: float | None = None) -> AbstractContextManager[Talk]: ...


def _has_room(around: Around, names: Names, claim: Claim) -> bool:
    if around.lock or around.mark or around.awaited:
        return False
    kinds = {kind_of(names.base, member.name) for member in around.members}
    if kinds - {"r" if claim.shared else "s"}:
        return False
    return claim.shared or len(around.members) < (_number(around.slots) or claim.slots)


def _number(said: Iterable[Taken]) -> int | None:
    found = next(iter(said), None)
    return int(found.owner) if found else None
