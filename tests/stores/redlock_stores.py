"""What the tests of the Redlock store share: three nodes, a way to each that can be broken, and what is on them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from celery_locks.lease import Verdict
from celery_locks.stores.redlock import RedlockStore
from tests.servers.redlock import redlock_url
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.places import Place, Straight, opener
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tests.servers.proxy import Direction, Proxy
    from tests.servers.redis import RedisServer

#: The two names of the key `wallet`.
LOCK, FENCE = "lock:{wallet}", "lock:{wallet}:fence"
#: Where a test waits for a timeout it need not be the default one.
QUICK = "?socket_timeout=0.5"
#: So long a timeout that a test which waits for it, once, is a test that fails.
PATIENT = "?socket_timeout=60"


_opened = opener(RedlockStore)


class Ways(list["Proxy"]):
    """The ways to all nodes, which can be broken each by itself or all together."""

    @property
    def url(self) -> str:
        return redlock_url(way.port for way in self)

    def hold(self, direction: Direction) -> None:
        for way in self:
            way.hold(direction)

    def let_go(self, direction: Direction) -> None:
        for way in self:
            way.let_go(direction)

    def delay(self, seconds: float, *directions: Direction) -> None:
        for way in self:
            way.delay(seconds, *directions)

    def cut(self) -> None:
        for way in self:
            way.cut()

    def waiting(self, direction: Direction) -> bytes:
        return b"".join(way.waiting(direction) for way in self)


class Nodes(Place):
    """Nodes, a client of which is connected to all, and all know its scripts."""

    def __init__(self, nodes: list[RedisServer]) -> None:
        super().__init__(redlock_url(node.port for node in nodes), self._opened, self._ready)
        self.nodes = nodes

    def way(self, proxy: Callable[[str], Proxy]) -> Ways:
        return Ways(proxy(node.url) for node in self.nodes)

    @contextlib.contextmanager
    def _opened(self, url: str) -> Iterator[RedlockStore]:
        with _opened(url) as store:
            yield warmed(store, self.nodes)

    def _ready(self, url: str) -> AbstractContextManager[RedlockStore]:
        return self._opened(url + QUICK)


class PatientNodes(Straight, Nodes):
    """The same, with no proxy on the way to them, where nobody waits for a timeout."""

    def _ready(self, url: str) -> AbstractContextManager[RedlockStore]:
        return self._opened(url + PATIENT)


def opened(places: Sequence[RedisServer | Proxy], query: str = "") -> AbstractContextManager[RedlockStore]:
    """A store over these nodes, or over the ways to them."""
    return _opened(redlock_url(place.port for place in places) + query)


def warmed(store: RedlockStore, nodes: Sequence[RedisServer]) -> RedlockStore:
    """The store, when it is connected to all nodes and they know its scripts."""
    lease = take(store, "warm", f"owner {id(store)}")

    def beat() -> bool:
        assert verdict(store, lease) is Verdict.RENEWED
        return set(owners(nodes, "lock:{warm}")) == {lease.owner}

    wait_until(beat, "all nodes to take part")
    assert store.release(lease.claim)
    # A node that did not know this script says so when nobody waits any more: the next call teaches it.
    wait_until(
        lambda: store.inspect("none") or set(owners(nodes, "lock:{warm}")) == {None}, "all nodes to have released"
    )
    return store


def works(store: RedlockStore, owner: str) -> bool:
    """Whether all verbs do what they should."""
    lease = take(store, "wallet", owner)
    assert refused(store, "wallet", "intruder").holder == owner
    assert verdict(store, lease) is Verdict.RENEWED
    holding = store.inspect("wallet")
    assert holding is not None
    assert (holding.owner, holding.fence) == (owner, lease.fence)
    assert [each.owner for each in store.list("wallet")] == [owner]
    return release(store, owner) and store.inspect("wallet") is None


def owners(nodes: Sequence[RedisServer], name: str = LOCK) -> list[str | None]:
    """Who has the lock on each node."""
    found = [node.ask("GET", name) for node in nodes]
    return [kept and kept.partition(":")[2].partition("\0")[0] for kept in found]


def fences(nodes: Sequence[RedisServer]) -> list[int]:
    """What each node remembers as the last fence of `wallet`."""
    return [int((node.ask("GET", FENCE) or "0:").partition(":")[0]) for node in nodes]


def everywhere(nodes: Sequence[RedisServer], owner: str | None, name: str = LOCK) -> None:
    """Wait until all nodes say that this owner has the lock: a majority is answered before the others have done it."""
    try:
        wait_until(lambda: set(owners(nodes, name)) == {owner}, f"{owner} to have the lock on all nodes")
    except TimeoutError as error:
        raise TimeoutError(f"{error}, not {owners(nodes, name)}") from None


def plant(node: RedisServer, owner: str, ttl_ms: int = 30_000) -> None:
    """Leave a lock of somebody on one node, as a client does that died in the middle of an acquire."""
    node.ask("SET", LOCK, f"1:{owner}\0001", "PX", ttl_ms)


def release(store: RedlockStore, owner: str, ttl: float = 30.0) -> bool:
    return store.release(claim("wallet", owner, ttl))
