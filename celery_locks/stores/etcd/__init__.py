"""Locks in etcd: a key under a lease. The cluster's leader counts the time of a lease."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import re
import time
from typing import TYPE_CHECKING, Any

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store, Watches
from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.address import parse
from celery_locks.stores.etcd.contended import Contended
from celery_locks.stores.etcd.forcing import forced_out, look, seen
from celery_locks.stores.etcd.leases import Leases, end, revoke
from celery_locks.stores.etcd.marks import Marks
from celery_locks.stores.etcd.mending import Full, LeaseUnknown, Refused, outage
from celery_locks.stores.etcd.naming import Names, escaped, key_of, lock_name, whole_seconds
from celery_locks.stores.etcd.remembering import EtcdNotes
from celery_locks.stores.etcd.renewal import Renewal, Wanted
from celery_locks.stores.etcd.watching import Watch
from celery_locks.stores.etcd.wire import Wire
from celery_locks.stores.operations import Evicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.stores.etcd.messages import Taken
    from celery_locks.stores.etcd.wire import Talk

SHOWN_AT_ONCE = 500
#: etcd tells whole seconds. Whoever waits for the last one should not look a thousand times.
LAST_SECOND = 0.5
_WILD = re.compile(r"[*?\[]")


class EtcdStore(EtcdNotes, Store, Inspects, Evicts, Watches):
    """A key that is there while the lock is taken, with its owner as value, under a lease of that owner alone.

    The fence is the revision that made the key. Exclusion holds as far as etcd's leases do: a holder that was paused
    past its ttl, and a leader that was stuck, may let a second one in. The fence is what tells them apart.
    """

    counts_as_one = True
    hands_over = True

    def __init__(
        self,
        wire: Wire,
        *,
        prefix: str = DEFAULT_PREFIX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._wire = wire
        self._name = wire.address.shown
        self._leases = Leases()
        self._marks = Marks()
        self._noted = {}
        self._contended = Contended()

    def __repr__(self) -> str:
        return f"<EtcdStore {self._name}>"

    def acquire(self, claim: Claim) -> Lease | Busy:
        names, before = self._names(claim), self.clock()
        # What is needed to undo it is a part of the verb's time.
        spare = self._wire.address.farewell
        try:
            with self._talk(self._wire.address.timeout - spare) as talk:
                return self._asked(talk, claim, names, before)
        except StoreUnavailable:
            if not claim.in_common:
                self._give_up(names, spare)
            raise

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        # etcd's own lease may last longer than ours: ours is over when we said so.
        now = self.clock()
        alive = [lease.deadline is None or now < lease.deadline for lease in leases]
        asked = [
            Wanted(self._names(lease.claim), whole_seconds(lease.ttl)) for lease in itertools.compress(leases, alive)
        ]
        with self._talk() as talk:
            said = iter(Renewal(talk, self._leases).renewed(asked))
        return [next(said) if each else Verdict.LOST for each in alive]

    def release(self, claim: Claim) -> bool:
        names = self._names(claim)
        with self._talk() as talk:
            try:
                freed = self._freed(talk, names)
            except Full:
                freed = self._freed_unmarked(talk, names)
        self._leases.forget(names)
        return freed

    def undo(self, claim: Claim) -> None:
        """With its lease a key is gone, and no mark stays."""
        if granted := self._leases.forget(self._names(claim)):
            with self._talk() as talk:
                revoke(talk, granted)

    def inspect(self, key: str) -> Holding | None:
        with self._talk() as talk:
            taken = look(talk, lock_name(self.prefix, key))
        return taken and self._shown(key, taken)

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        # What is written before the first wild letter is the same in all that match.
        wild = _WILD.search(pattern)
        begin = f"{self.prefix}{{{escaped(pattern[: wild.start()] if wild else pattern)}"
        last = None
        while page := self._page(begin, last):
            last = page[-1].name
            for taken in page:
                key = key_of(self.prefix, taken.name)
                if key is not None and fnmatch.fnmatchcase(key, pattern):
                    yield self._shown(key, taken)

    def force_release(self, key: str) -> bool:
        """Free the key whoever has it, by ending the lease that holds it; False when it was free."""
        with self._talk() as talk:
            return forced_out(talk, lock_name(self.prefix, key))

    def evict(self, key: str, fence: int) -> bool:
        with self._talk() as talk:
            return forced_out(talk, lock_name(self.prefix, key), fence)

    def watch(self, key: str, seconds: float) -> None:
        Watch(self._wire, lock_name(self.prefix, key), seconds).wait(self._contended.revision(key))

    def close(self) -> None:
        self._wire.close()

    def _names(self, claim: Claim) -> Names:
        return Names.of(self.prefix, claim.key, claim.owner)

    def _asked(self, talk: Talk, claim: Claim, names: Names, before: float) -> Lease | Busy:
        if claim.after and (fence := self._taken_over(talk, claim, names)):
            return Lease(claim, fence, before + claim.ttl, self.clock)
        # A lease is a write in each member. A key that was taken a moment ago is looked at before one is granted.
        if claim.key in self._contended:
            taken, revision = seen(talk, names.lock)
            if taken and taken.owner != claim.owner:
                return self._busy(talk, claim.key, taken, revision)
            self._contended.was_free(claim.key)
        answer = None
        while answer is None:
            answer = self._once(talk, claim, names)
        return answer if isinstance(answer, Busy) else Lease(claim, answer, before + claim.ttl, self.clock)

    def _taken_over(self, talk: Talk, claim: Claim, names: Names) -> int | None:
        """The fence of a lock that is handed over; None when it is not there to be, and the key is to be asked for."""
        taken, _ = seen(talk, names.lock)
        if taken is None or taken.owner != claim.after:
            return None
        lease = self._leases.grant(talk, names, whole_seconds(claim.ttl))
        if not Renewal(talk, self._leases).move(names, lease, taken):
            return None
        self._leases.forget(Names.of(self.prefix, claim.key, claim.after))
        return taken.fence

    def _once(self, talk: Talk, claim: Claim, names: Names) -> int | Busy | None:
        """One try, and the fence that comes of it; None when its lease ended in the middle of it."""
        lease = self._leases.grant(talk, names, whole_seconds(claim.ttl))
        try:
            answer = talk.ask(messages.TXN, messages.take(names, lease))
        except LeaseUnknown:
            return None
        if answer.get("succeeded"):
            return messages.revision(answer)
        taken, _ = messages.found(answer)
        if taken is None or taken.owner != claim.owner:
            return self._refused(talk, claim.key, names, answer)
        # The same owner again. Its lock lies under this lease already when it was the answer that was lost.
        ours = taken.lease == lease or Renewal(talk, self._leases).move(names, lease, taken)
        return taken.fence if ours else None

    def _refused(self, talk: Talk, key: str, names: Names, answer: dict[str, Any]) -> Busy:
        """A lease is for a holder: the one that was granted for this try goes back."""
        end(talk, self._leases.forget(names))
        taken, _ = messages.found(answer)
        # Where it is free, this owner is done with it.
        return self._busy(talk, key, taken, messages.revision(answer)) if taken else Busy()

    def _busy(self, talk: Talk, key: str, taken: Taken, revision: int) -> Busy:
        self._contended.add(key, revision)
        return Busy(taken.owner, _remaining(talk, taken))

    def _freed(self, talk: Talk, names: Names) -> bool:
        granted = self._leases.of(names)
        answer = self._given_back(talk, names)
        was = next(iter(messages.found(answer)), None)
        ours = bool(answer.get("succeeded"))
        # When it was not ours, a request of ours may still be on its way: without its lease it comes to nothing.
        end(talk, was.lease if was and ours else granted and granted.number)
        return ours or was is not None

    def _freed_unmarked(self, talk: Talk, names: Names) -> bool:
        """Free a key by ending its lease, which etcd does also when it has no room for a mark."""
        taken = look(talk, names.lock)
        if taken and taken.owner == names.owner:
            revoke(talk, taken.lease)
            return True
        return look(talk, names.mark) is not None

    def _given_back(self, talk: Talk, names: Names) -> dict[str, Any]:
        try:
            return talk.ask(messages.TXN, messages.give_back(names, self._marks.lease(talk)))
        except LeaseUnknown:
            # That of the marks is gone: the cluster was set up anew, or this process slept.
            self._marks.forget()
            return talk.ask(messages.TXN, messages.give_back(names, self._marks.lease(talk)))

    def _give_up(self, names: Names, spare: float) -> None:
        """Undo a request that may have arrived without an answer. It comes to nothing should it arrive late."""
        with contextlib.suppress(StoreUnavailable):
            end(self._wire.talk(spare), self._leases.forget(names))

    def _page(self, begin: str, last: str | None) -> Sequence[Taken]:
        with self._talk() as talk:
            answer = talk.ask(messages.RANGE, messages.look_through(begin, last, SHOWN_AT_ONCE))
        return tuple(messages.shown(answer))

    def _shown(self, key: str, taken: Taken) -> Holding:
        with self._talk() as talk:
            return Holding(key, taken.owner, taken.fence, _remaining(talk, taken))

    @contextlib.contextmanager
    def _talk(self, timeout: float | None = None) -> Iterator[Talk]:
        try:
            yield self._wire.talk(timeout)
        except Refused as error:
            raise outage(self._name, error) from error


def _remaining(talk: Talk, taken: Taken) -> float | None:
    if not taken.lease:
        return None
    left = int(talk.ask(messages.TIME_LEFT, messages.one(taken.lease)).get("TTL", 0))
    return float(left) if left > 0 else LAST_SECOND


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> EtcdStore:
    """A store for etcd://host:2379,host2:2379 or, with TLS, etcds://. Nothing is connected yet."""
    return EtcdStore(Wire(parse(url, options)), prefix=prefix)
