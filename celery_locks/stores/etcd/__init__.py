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
from celery_locks.stores.etcd.crowd import SAID_AGAIN, CrowdInEtcd
from celery_locks.stores.etcd.forcing import forced_out, seen
from celery_locks.stores.etcd.giving import Giving, taken_over
from celery_locks.stores.etcd.leases import Leases
from celery_locks.stores.etcd.marks import Marks
from celery_locks.stores.etcd.mending import LeaseUnknown, Refused, outage
from celery_locks.stores.etcd.naming import Names, escaped, key_of, lock_name, whole_seconds
from celery_locks.stores.etcd.positions import EtcdPositions
from celery_locks.stores.etcd.remembering import EtcdNotes
from celery_locks.stores.etcd.renewal import Renewal, Wanted
from celery_locks.stores.etcd.together import TogetherInEtcd
from celery_locks.stores.etcd.watching import Watch
from celery_locks.stores.etcd.wire import Wire
from celery_locks.stores.members import is_alone
from celery_locks.stores.operations import Evicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.stores.etcd.messages import Taken
    from celery_locks.stores.etcd.wire import Talk

SHOWN_AT_ONCE = 500
#: etcd tells whole seconds. Whoever waits for the last one should not look a thousand times.
LAST_SECOND = 0.5
_WILD = re.compile(r"[*?\[]")


class EtcdStore(EtcdNotes, EtcdPositions, Store, CrowdInEtcd, TogetherInEtcd, Inspects, Evicts, Watches):
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
        self._kinds, self._waits = {}, {}

    def __repr__(self) -> str:
        return f"<EtcdStore {self._name}>"

    def acquire(self, claim: Claim) -> Lease | Busy:
        names, before = self._names(claim), self.clock()
        # What is needed to undo it is a part of the verb's time.
        spare = self._wire.address.farewell
        try:
            with self._talk(self._wire.address.timeout - spare) as talk:
                if not is_alone(claim):
                    return self._joined(talk, claim, names, before)
                answer = self._asked(talk, claim, names, before)
                if self._waits and isinstance(answer, Lease):
                    self._want_no_more(talk, claim)
                return answer
        except StoreUnavailable:
            if not claim.in_common:
                self._give_up(spare, names)
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
            verdicts = [next(said) if each else Verdict.LOST for each in alive]
            # Not every claim says as what it holds its key.
            lost = [place for place, verdict in enumerate(verdicts) if alive[place] and verdict is Verdict.LOST]
            if lost:
                others = self._renew_others(talk, [leases[place] for place in lost])
                for place, verdict in zip(lost, others, strict=True):
                    verdicts[place] = verdict
        return verdicts

    def release(self, claim: Claim) -> bool:
        names = self._names(claim)
        with self._talk() as talk:
            if self._waits:
                self._want_no_more(talk, claim)
            freed = Giving(talk, self._leases, self._marks).freed(names)
            if not freed and (other := self._held_as(talk, claim, names)):
                freed = Giving(talk, self._leases, self._marks).freed(other)
                self._leases.forget(other)
        self._leases.forget(names)
        if self._kinds:
            self._kinds.pop((claim.key, claim.owner), None)
        return freed

    def undo(self, claim: Claim) -> None:
        with self._talk() as talk:
            Giving(talk, self._leases, self._marks).undone(self._names(claim))

    def inspect(self, key: str) -> Holding | None:
        with self._talk() as talk:
            holders, _ = seen(talk, lock_name(self.prefix, key))
        return self._shown(key, holders[0]) if holders else None

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
        if self._waits and self._awaits(key):
            seconds = min(seconds, SAID_AGAIN)
        Watch(self._wire, lock_name(self.prefix, key), seconds).wait(*self._contended.known(key))

    def close(self) -> None:
        self._wire.close()

    def _names(self, claim: Claim, kind: str | None = None) -> Names:
        return Names.of(self.prefix, claim.key, claim.owner, self._kind(claim) if kind is None else kind)

    def _asked(self, talk: Talk, claim: Claim, names: Names, before: float) -> Lease | Busy:
        if claim.after:
            former = self._names(claim._replace(owner=claim.after), "")
            if fence := taken_over(talk, self._leases, claim, names, former):
                return Lease(claim, fence, before + claim.ttl, self.clock)
        # A lease is a write in each member. A key that was taken a moment ago is looked at before one is granted.
        if claim.key in self._contended:
            holders, revision = seen(talk, names.base)
            if holders and all(taken.owner != claim.owner for taken in holders):
                return self._turned_away(talk, claim, names, holders, revision)
            self._contended.was_free(claim.key)
        answer = None
        while answer is None:
            answer = self._once(talk, claim, names)
        return answer if isinstance(answer, Busy) else Lease(claim, answer, before + claim.ttl, self.clock)

    def _once(self, talk: Talk, claim: Claim, names: Names) -> int | Busy | None:
        """One try, and the fence that comes of it; None when its lease ended in the middle of it."""
        lease = self._leases.grant(talk, names, whole_seconds(claim.ttl))
        try:
            answer = talk.ask(messages.TXN, messages.take(names, lease))
        except LeaseUnknown:
            return None
        if answer.get("succeeded"):
            return messages.revision(answer)
        lock, _, members = messages.found_all(answer)
        taken = next((each for each in (*lock, *members) if each.owner == claim.owner), None)
        if taken is None:
            # A lease is for a holder: the one that was granted for this try goes back.
            self._leases.take_back(talk, lease, names)
            return self._refused(talk, claim, names, [*lock, *members], messages.revision(answer))
        # The same owner again. Its lock lies under this lease already when it was the answer that was lost.
        ours = taken.lease == lease or Renewal(talk, self._leases).move(names._replace(lock=taken.name), lease, taken)
        return taken.fence if ours else None

    def _refused(self, talk: Talk, claim: Claim, names: Names, holders: Sequence[Taken], revision: int) -> Busy:
        """Who has it. Where nobody has, this owner is done with it."""
        return self._turned_away(talk, claim, names, holders, revision) if holders else Busy()

    def _turned_away(self, talk: Talk, claim: Claim, names: Names, holders: Sequence[Taken], revision: int) -> Busy:
        if holders[0].name != names.base:
            self._want(talk, claim, names)
        return self._busy(talk, claim.key, holders[0], revision, len(holders))

    def _busy(self, talk: Talk, key: str, taken: Taken, revision: int, count: int = 1) -> Busy:
        self._contended.add(key, revision, count)
        return Busy(taken.owner, _remaining(talk, taken))

    def _give_up(self, spare: float, *names: Names) -> None:
        """Undo a request that may have arrived without an answer. It comes to nothing should it arrive late."""
        with contextlib.suppress(StoreUnavailable, Refused):
            Giving(self._wire.talk(spare), self._leases, self._marks).given_up(*names)

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
