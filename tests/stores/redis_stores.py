"""What the tests of the Redis store share: how one is opened, and what is in the server then."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import redis

from celery_locks.lease import Claim, Lease, Verdict
from celery_locks.stores.redis import RedisStore, scripts
from celery_locks.stores.redis.calls import Call
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.places import Place, opener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.redis import RedisServer
    from tests.servers.redis_groups import RedisCluster, SentinelGroup

#: Not the oldest redis-py, with which a part suffices.
NEWEST = not redis.__version__.startswith("5.")
#: The names of the key `wallet`.
LOCK, FENCE, LINE = "lock:{wallet}", "lock:{wallet}:fence", "lock:{wallet}:line"
#: Where a test waits for a timeout it need not be the default one.
QUICK = "?socket_timeout=0.5&socket_connect_timeout=0.5"


@contextlib.contextmanager
def full(server: RedisServer) -> Iterator[None]:
    """No memory is left for anything new."""
    server.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        server.ask("CONFIG", "SET", "maxmemory", 0)


@contextlib.contextmanager
def within_reason() -> Iterator[None]:
    """It does not hang, however busy the machine: no timeout of these tests is nearly so long."""
    before = time.monotonic()
    try:
        yield
    finally:
        assert time.monotonic() - before < 30


opened = opener(RedisStore)


@contextlib.contextmanager
def _ready(url: str) -> Iterator[RedisStore]:
    with opened(url + QUICK) as store:
        assert verdict(store, take(store, "first")) is Verdict.RENEWED
        # Now the server knows the scripts: one it does not know is answered, and changes nothing.
        assert store.release(take(store, "warm").claim)
        yield store


def place_of(url: str) -> Place:
    return Place(url, opened, _ready)


def give_up(store: RedisStore, owner: str, key: str = "wallet") -> None:
    """Say what a client says that gives up its request."""
    store._give_up([Call(scripts.RELEASE, store._names(key), store._release_with(claim(key, owner), 1))])


def dump(server: RedisServer, name: str) -> bytes:
    """What is kept under a name, whatever its type."""
    with server.client(decode_responses=False) as client:
        return bytes(client.dump(name))


def kept(server: RedisServer) -> dict[str, str]:
    """All strings there are, but for what is remembered of conflicts."""
    names = [name for name in server.ask("KEYS", "*") if ":stats:{" not in name and not name.endswith(":conflicts")]
    return {name: server.ask("GET", name) for name in names}


def calls(server: RedisServer, command: str) -> int:
    """How often the server was asked that."""
    with server.client() as client:
        return int(client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def heirs_asked(server: RedisServer, homes: str, later: float) -> None:
    """As if those to whom a key may be handed over had asked so many seconds later than they did."""
    with server.client() as client:
        for ticket, said in client.hgetall(homes).items():
            home, slot, *heir = said.split(" ", 5)
            if heir:
                heir[2] = str(int(heir[2]) + int(later * 1e6))
                client.hset(homes, ticket, " ".join([home, slot, *heir]))


def sentinel_url(group: SentinelGroup) -> str:
    return f"redis+sentinel://{_hosts(group.addresses)}/{group.service}/0"


def cluster_url(cluster: RedisCluster) -> str:
    return f"redis+cluster://{_hosts(cluster.addresses)}"


def one_key_a_master(store: RedisStore, cluster: RedisCluster) -> list[str]:
    """A key that lives at each."""
    masters, found = cluster.masters, dict[int, str]()
    for number in range(100):
        acquired = store.acquire(Claim(f"probe {number}", "anna", 30.0))
        assert isinstance(acquired, Lease)
        place = next(place for place, master in enumerate(masters) if master.ask("DBSIZE"))
        found.setdefault(place, acquired.key)
        cluster.flush()
        if len(found) == len(masters):
            break
    return [found[place] for place in range(len(masters))]


def _hosts(addresses: list[tuple[str, int]]) -> str:
    return ",".join(f"{host}:{port}" for host, port in addresses)
