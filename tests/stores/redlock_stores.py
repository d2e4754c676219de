"""What the tests of the Redlock store share: three nodes, a way to each that can be broken, and what is on them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from celery_locks.lease import Verdict
from celery_locks.stores import open_store
from celery_locks.stores.redlock import RedlockStore
from tests.servers.redlock import redlock_url
from tests.stores.contract.asking import claim, take, verdict
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer

#: The two names of the key `wallet`.
LOCK, FENCE = "lock:{wallet}", "lock:{wallet}:fence"
#: Where a test waits for a timeout it need not be the default one.
QUICK = "?socket_timeout=0.5"


@contextlib.contextmanager
def opened(places: Sequence[RedisServer | Proxy], query: str = "") -> Iterator[RedlockStore]:
    """A store over these nodes, or over the ways to them."""
    with contextlib.closing(open_store(redlock_url(place.port for place in places) + query)) as store:
        assert isinstance(store, RedlockStore)
        yield store


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
