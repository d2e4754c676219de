"""Locks in ZooKeeper: ephemeral nodes, which end with the session of the process that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kazoo.exceptions import NodeExistsError, NoNodeError

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict
from celery_locks.stores.base import DEFAULT_PREFIX, Crowds, Inspects, Store, Watches
from celery_locks.stores.living import SessionLease
from celery_locks.stores.members import is_alone
from celery_locks.stores.operations import Evicts
from celery_locks.stores.zookeeper.address import parse
from celery_locks.stores.zookeeper.asking import Asking, refusal
from celery_locks.stores.zookeeper.crowd import Crowding
from celery_locks.stores.zookeeper.names import Folders, Name, crowded
from celery_locks.stores.zookeeper.numbers import Numbers
from celery_locks.stores.zookeeper.onlooker import TRIES, Onlooker, Seen, owner
from celery_locks.stores.zookeeper.session import Session

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.stores.zookeeper.address import Address
    from celery_locks.stores.zookeeper.answer import Answer
    from celery_locks.stores.zookeeper.client import Client


class NodeLease(SessionLease):
    """A lease whose node lives in a session with ZooKeeper."""

    __slots__ = ("_number", "_session")
    over = "the session it lived in is over, or ZooKeeper was silent for so long that it may have ended it"

    def __init__(self, claim: Claim, fence: int, session: Session, number: int) -> None:
        super().__init__(claim, fence, None)
        self._session = session
        self._number = number

    def lives(self) -> bool:
        """Whether the server keeps its session for certain. A process that was frozen for too long knows it at once."""
        return self._session.keeps(self._number)


class ZooKeeperStore(Store, Inspects, Evicts, Watches, Crowds):
    """One ephemeral node a key, made with another one that is named after the owner, and removed with it.

    The two come and go in one step, so a node can be removed by the name of its owner alone. All locks of a process
    live in one session; a ttl is not used. Each of several who hold a key has a node of its own, below that of the key.
    """

    in_connection = True
    counts_as_one = True

    def __init__(self, address: Address, *, prefix: str = DEFAULT_PREFIX) -> None:
        super().__init__(prefix=prefix)
        self._address = address
        self._session = Session(address)
        self._folders = Folders.of(address.chroot, prefix)
        self._asking = Asking(self._session, address, self._folders.locks)
        self._onlooker = Onlooker(self._asking, self._folders)
        self._crowding = Crowding(self._session, self._asking, self._folders, self._onlooker)
        self._numbers = Numbers(self._asking, self._folders)

    def __repr__(self) -> str:
        return f"<ZooKeeperStore {self._address.shown}>"

    def acquire(self, claim: Claim) -> Lease | Busy:
        """Take the key for as long as the session lasts; the ttl is not used."""
        name = self._folders.name(claim.key, claim.owner)
        known = self._session.known
        if known.is_over(name.mark):
            return self._onlooker.holder(name.lock) or Busy()
        if not is_alone(claim):
            return self._entered(claim, self._folders.member(name), self._crowding.joined)
        # Whoever was refused looks before it asks again: a look is not written down by the whole ensemble.
        if name.mark in known.refused and (seen := self._onlooker.seen(name.lock)) and seen.owner != claim.owner:
            self._crowding.turned_away(claim, seen)
            return Busy(seen.owner)
        outcome = self._entered(claim, name, self._taken)
        if isinstance(outcome, Lease):
            self._crowding.waits_no_more(claim)
        return outcome

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        """See that the session lasts, and that each lease's node is still there."""
        asked = [lease for lease in leases if not isinstance(lease, NodeLease) or lease.held()]
        try:
            kept = self._kept(asked) if asked else set()
        except StoreUnavailable:
            # While we waited for a word the time of their session may have run out.
            if any(lease.held() for lease in asked):
                raise
            kept = set()
        return [Verdict.RENEWED if id(lease) in kept else Verdict.LOST for lease in leases]

    def release(self, claim: Claim) -> bool:
        """Remove the key's node. Only the process and the store that took it can.

        While ZooKeeper cannot be reached the node stays; the store removes it when the connection is back.
        """
        name = self._folders.name(claim.key, claim.owner)
        known = self._session.known
        if name.mark not in known.mine:
            self._crowding.waits_no_more(claim)
            return name.mark in known.done
        with self._asking.speaking():
            return self._session.leave(known.members.get(name.mark, name))

    def undo(self, claim: Claim) -> None:
        if self.release(claim):
            self._session.known.done.discard(self._folders.name(claim.key, claim.owner).mark)

    def inspect(self, key: str) -> Holding | None:
        return self._onlooker.inspect(key)

    def holders(self, key: str) -> builtins.list[Holding]:
        return self._onlooker.holders(key)

    def slots(self, key: str) -> int | None:
        return self._numbers.of(key)

    def set_slots(self, key: str, slots: int | None) -> None:
        self._numbers.put(key, slots)

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        return self._onlooker.list(pattern)

    def force_release(self, key: str) -> bool:
        return self._onlooker.force_release(key)

    def evict(self, key: str, fence: int) -> bool:
        return self._onlooker.force_release(key, fence)

    def watch(self, key: str, seconds: float) -> None:
        with self._asking.speaking():
            self._session.watch(*self._crowding.to_watch(key, seconds))

    def close(self) -> None:
        """End the session; the locks that live in it end."""
        self._session.close()

    def _kept(self, leases: Sequence[Lease]) -> set[int]:
        marks = [self._folders.name(lease.key, lease.owner).mark for lease in leases]
        stats = self._asking.look(lambda client: [client.exists_async(mark) for mark in marks], lasting=True)
        number = self._session.number
        return {
            id(lease)
            for lease, stat in zip(leases, stats, strict=True)
            if stat and (stat.czxid, stat.ephemeralOwner) == (lease.fence, number)
        }

    def _entered(self, claim: Claim, name: Name, way: Callable[[Claim, Name], Any]) -> Lease | Busy:
        known = self._session.known
        try:
            outcome = way(claim, name)
            if isinstance(outcome, Seen) or outcome is None:
                known.got_nothing(name)
                known.refused.add(name.mark)
                return Busy(outcome and outcome.owner)
            return self._lease(claim, name, outcome)
        except BaseException:
            # Unheard, it may have been done, or be done yet; unless it was never asked for.
            if name.mark in known.mine:
                self._session.give_up(name)
            raise

    def _taken(self, claim: Claim, name: Name) -> Any:
        """The stat of the node of one that has the key alone; or who has it."""
        for _ in range(TRIES):
            results = self._asking.do(lambda client: self._taking(client, name))
            refused = refusal(results)
            if refused is None:
                return results[-1]
            if isinstance(refused, NoNodeError):
                self._prepare()
            elif not isinstance(refused, NodeExistsError):
                raise self._asking.outage(refused)
            elif outcome := self._standing(claim, name):
                return outcome
        self._crowding.turned_away(claim, None)
        return None

    def _taking(self, client: Client, name: Name) -> Answer:
        self._session.known.wants(name)
        all_ = client.transaction()
        all_.create(name.lock, ephemeral=True)
        all_.create(name.mark, ephemeral=True)
        # kazoo gives no stat for what is created in a transaction, and one for what is written.
        all_.set_data(name.lock, name.data)
        answer: Answer = all_.commit_async()
        return answer

    def _standing(self, claim: Claim, name: Name) -> Any:
        """Who has the key, which may be this very claim, whose answer was lost; None when it is free again."""
        (found,) = self._asking.ask(lambda client: [client.get_async(name.lock)])
        if found is None:
            return None
        data, stat = found
        if data == name.data and stat.ephemeralOwner == self._session.number:
            return stat
        standing = self._crowding.standing(name, found) if crowded(data) else Seen(owner(data), name.lock)
        if isinstance(standing, Seen):
            self._crowding.turned_away(claim, standing)
        return standing

    def _lease(self, claim: Claim, name: Name, stat: Any) -> Lease:
        self._session.known.mine[name.mark] = stat.ephemeralOwner
        # The number of the transaction that made the node. That of a sequential node starts again with its folder.
        return NodeLease(claim, stat.czxid, self._session, stat.ephemeralOwner)

    def _prepare(self) -> None:
        self._asking.ask(lambda client: [client.ensure_path_async(folder) for folder in self._folders])


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> ZooKeeperStore:
    """A store for zookeeper://host:2181,host:2181/chroot, with what it may be told as a query."""
    return ZooKeeperStore(parse(url, options), prefix=prefix)
