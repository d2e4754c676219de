"""Several keys in one lock in etcd: one transaction takes all of them or none, under one lease, with one fence."""

from __future__ import annotations

import abc
import contextlib
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease
from celery_locks.stores.base import Together
from celery_locks.stores.etcd import joint, messages
from celery_locks.stores.etcd.giving import Giving
from celery_locks.stores.etcd.mending import LeaseUnknown
from celery_locks.stores.etcd.naming import whole_seconds
from celery_locks.stores.members import is_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from celery_locks.lease import Claim
    from celery_locks.stores.etcd.contended import Contended
    from celery_locks.stores.etcd.leases import Leases
    from celery_locks.stores.etcd.marks import Marks
    from celery_locks.stores.etcd.messages import Body, Taken
    from celery_locks.stores.etcd.naming import Names
    from celery_locks.stores.etcd.wire import Talk, Wire


class TogetherInEtcd(Together):
    """What an `EtcdStore` does about several keys. A lease says in its number for how many it was granted.

    So whoever frees one of them or gives it a lease of its own leaves the others alone, and whoever frees all ends it.
    """

    clock: Callable[[], float]
    _wire: Wire
    _leases: Leases
    _marks: Marks
    _contended: Contended
    _kinds: dict[tuple[str, str], str]
    _waits: dict[tuple[str, str], int]

    def joins(self, claim: Claim) -> bool:
        return is_alone(claim) and len(claim.keys) <= joint.MOST

    def acquire_together(self, claim: Claim) -> Lease | Busy | None:
        if claim.after:
            # Each goes on by itself, with the fence that it has.
            return None
        names, before = [self._names(claim.of(key), "") for key in claim.keys], self.clock()
        spare = self._wire.address.farewell
        try:
            with self._talk(self._wire.address.timeout - spare) as talk:
                answer = self._all_asked(talk, claim, names)
                if self._waits and isinstance(answer, int):
                    self._want_none_more(talk, claim)
        except StoreUnavailable:
            if not claim.in_common:
                self._give_up(spare, *names)
            raise
        return Lease(claim, answer, before + claim.ttl, self.clock) if isinstance(answer, int) else answer

    def release_together(self, claim: Claim, *, is_dead: bool = False) -> bool:
        names = [self._names(claim.of(key)) for key in claim.keys]
        with self._talk() as talk:
            if self._waits:
                self._want_none_more(talk, claim)
            freed = Giving(talk, self._leases, self._marks).all_freed(names)
        for key, each in zip(claim.keys, names, strict=True):
            self._leases.forget(each)
            self._kinds.pop((key, claim.owner), None)
        # Not every claim says as what its owner has the key.
        said = [mine or self.release(claim.of(key)) for key, mine in zip(claim.keys, freed, strict=True)]
        return any(said) if is_dead else all(said)

    def _all_asked(self, talk: Talk, claim: Claim, names: Sequence[Names]) -> int | Busy | None:
        """The fence of all, or who has the first that is taken; None when a part of them is this owner's."""
        if any(key in self._contended for key in claim.keys):
            answer = talk.ask(messages.TXN, joint.look(names))
            if busy := self._first_taken(talk, claim, names, answer):
                return busy
            for key in claim.keys:
                self._contended.was_free(key)
        while True:
            lease = self._leases.grant_one(talk, names, whole_seconds(claim.ttl))
            # It may end in the middle of it.
            with contextlib.suppress(LeaseUnknown):
                answer = talk.ask(messages.TXN, joint.take(names, lease))
                return self._all_taken(talk, claim, names, answer, lease)

    def _all_taken(
        self, talk: Talk, claim: Claim, names: Sequence[Names], answer: Body, lease: int
    ) -> int | Busy | None:
        if answer.get("succeeded"):
            return messages.revision(answer)
        locks = [taken for each in joint.around(answer) for taken in each.lock]
        if sum((taken.lease, taken.owner) == (lease, claim.owner) for taken in locks) == len(names):
            # It was the answer that was lost.
            return locks[0].fence
        self._leases.take_back(talk, lease, *names)
        return self._first_taken(talk, claim, names, answer)

    def _first_taken(self, talk: Talk, claim: Claim, names: Sequence[Names], answer: Body) -> Busy | None:
        """Who has the first key that is not to be had; None when it is this owner, or when all are to be had."""
        for key, mine, around in zip(claim.keys, names, joint.around(answer), strict=True):
            holders = [*around.lock, *around.members]
            if any(taken.owner == claim.owner for taken in holders):
                return None
            if holders:
                busy = self._turned_away(talk, claim.of(key), mine, holders, messages.revision(answer))
                return busy._replace(key=key)
            if around.mark:
                return Busy()
        return None

    def _want_none_more(self, talk: Talk, claim: Claim) -> None:
        for key in claim.keys:
            self._want_no_more(talk, claim.of(key))

    @abc.abstractmethod
    def release(self, claim: Claim) -> bool: ...

    @abc.abstractmethod
    def _names(self, claim: Claim, kind: str | None = None) -> Names: ...

    @abc.abstractmethod
    def _turned_away(self, talk: Talk, claim: Claim, names: Names, holders: Sequence[Taken], revision: int) -> Busy: ...

    @abc.abstractmethod
    def _give_up(self, spare: float, *names: Names) -> None: ...

    @abc.abstractmethod
    def _want_no_more(self, talk: Talk, claim: Claim) -> None: ...

    @abc.abstractmethod
    def _talk(self, timeout: float | None = None) -> AbstractContextManager[Talk]: ...
