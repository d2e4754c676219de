"""The nodes of a Redis Cluster."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot

from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.lease import Lease, Verdict
from celery_locks.stores import open_store
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.contract.waiting import ask, come, hearing, join, joined
from tests.stores.redis_stores import (
    FENCE,
    LINE,
    LOCK,
    QUICK,
    calls,
    cluster_url,
    one_key_a_master,
    opened,
    within_reason,
)
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis import RedisServer
    from tests.servers.redis_groups import RedisCluster


@pytest.fixture
def cluster(redis_cluster: RedisCluster) -> RedisCluster:
    redis_cluster.flush()
    return redis_cluster


@pytest.fixture
def store(cluster: RedisCluster) -> Iterator[RedisStore]:
    with opened(cluster_url(cluster)) as store:
        yield store


def test_all_names_of_a_key_are_on_one_node(store: RedisStore) -> None:
    """Whatever braces a key has of its own, its lock, its fence and its line have one slot."""
    for key in ("wallet", "a}b", "{a}b", "}{", "{}", "%7D", "a{b}c{d}"):
        assert len({key_slot(name.encode()) for name in store._names(key)}) == 1
        take(store, key)
        assert store.release(claim(key))


def test_a_prefix_with_braces_keeps_a_key_together(cluster: RedisCluster) -> None:
    """A prefix may bring a hash tag of its own."""
    for prefix in ("{bank}:", "a{b", "}{", "{{}}"):
        with contextlib.closing(open_store(cluster_url(cluster), prefix=prefix)) as store:
            take(store, "wallet")
            assert store.release(claim("wallet"))


def test_a_prefix_that_would_part_them_is_a_mistake(cluster: RedisCluster) -> None:
    """Empty braces switch hash tags off."""
    with pytest.raises(LockConfigError, match="different nodes"):
        open_store(cluster_url(cluster), prefix="bank:{}:")


def test_leases_on_all_nodes_are_renewed_together(store: RedisStore, cluster: RedisCluster) -> None:
    """A thousand leases over three nodes, each with its verdict, in one go."""
    leases = [take(store, f"key {number}") for number in range(300)]
    store.release(leases[7].claim)
    before = [calls(node, "evalsha") for node in cluster.nodes]
    verdicts = store.renew(leases)
    assert verdicts == [Verdict.LOST if number == 7 else Verdict.RENEWED for number in range(300)]
    shares = [calls(node, "evalsha") - seen for node, seen in zip(cluster.nodes, before, strict=True)]
    assert sum(shares) == 300
    assert min(shares) > 50


def test_a_forgotten_script_costs_a_cluster_one_more_round(store: RedisStore, cluster: RedisCluster) -> None:
    """After SCRIPT FLUSH on every node the verdicts are the same."""
    leases = [take(store, f"key {number}") for number in range(60)]
    for node in cluster.nodes:
        node.ask("SCRIPT", "FLUSH")
    assert store.renew(leases) == [Verdict.RENEWED] * 60
    for node in cluster.nodes:
        node.ask("SCRIPT", "FLUSH")
    assert store.release(leases[0].claim)
    assert len(list(store.list())) == 59


def test_a_list_is_of_all_nodes(store: RedisStore) -> None:
    """Locks are found wherever they live, each once."""
    for number in range(60):
        take(store, f"key {number}", f"owner {number}")
    shown = list(store.list("key *"))
    assert sorted(holding.owner for holding in shown) == sorted(f"owner {number}" for number in range(60))


def test_a_lock_moves_with_its_slot(store: RedisStore, cluster: RedisCluster) -> None:
    """A slot that went to another node takes its locks along, while it goes and afterwards."""
    lease = take(store, "wallet")
    with _moving(cluster, [LOCK, FENCE]) as move:
        assert verdict(store, lease) is Verdict.RENEWED
        assert refused(store, "wallet", "ben").holder == "anna"
        assert store.acquire(lease.claim).fence == lease.fence  # type: ignore[union-attr] # a repeated one
        assert ask(store, "wallet", "waiter").ticket is None  # type: ignore[union-attr] # no line for so long
        move()
        assert verdict(store, lease) is Verdict.RENEWED
        assert refused(store, "wallet", "ben").holder == "anna"
        assert store.release(lease.claim)
        assert take(store, "wallet", "ben").fence > lease.fence


def test_a_line_moves_with_its_slot(store: RedisStore, cluster: RedisCluster) -> None:
    """Whoever stood in it is called on the other node."""
    take(store, "wallet", "holder")
    a, b = joined(store, "wallet", "a", "b")
    with _moving(cluster, [LOCK, FENCE, LINE]) as move:
        assert join(store, "wallet", "a", a).place == 1
        move()
        assert join(store, "wallet", "b", b).place == 2
        with hearing(store) as wake:
            assert store.release(claim("wallet", "holder"))
            assert wake().ticket == a
        assert store.release(come(store, "wallet", "a", a).claim)
        assert store.release(come(store, "wallet", "b", b).claim)


@contextlib.contextmanager
def _moving(cluster: RedisCluster, names: list[str]) -> Iterator[Callable[[], None]]:
    """Between two nodes, as redis-cli --cluster reshard does it; back again at the end."""
    slot = key_slot(names[0].encode())
    source = next(node for node in cluster.nodes if node.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == len(names))
    target = next(node for node in cluster.nodes if node is not source)
    _open_slot(slot, source, target)
    yield lambda: _move(cluster, slot, source, target)
    _open_slot(slot, target, source)
    _move(cluster, slot, target, source)
    cluster.wait_until_whole()


def _open_slot(slot: int, source: RedisServer, target: RedisServer) -> None:
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))


def _move(cluster: RedisCluster, slot: int, source: RedisServer, target: RedisServer) -> None:
    names = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
    if names:
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)
    for node in (target, source, *cluster.nodes):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))


def test_a_hung_node_costs_its_keys_a_bounded_time_and_others_nothing(cluster: RedisCluster) -> None:
    """The keys of a frozen node are an outage, those of the others are as free as ever, also in a new client."""
    with opened(cluster_url(cluster) + QUICK) as store:
        keys = one_key_a_master(store, cluster)
        cluster.masters[0].pause()
        with pytest.raises(StoreUnavailable), within_reason():
            store.acquire(claim(keys[0]))
        take(store, keys[1])
        take(store, keys[2])
        cluster.heal()
        assert _settled(store, keys[0])


def _settled(store: RedisStore, key: str) -> bool:
    """The key is free for another owner, though the request of the first lay in the frozen node."""

    def free() -> bool:
        with contextlib.suppress(StoreUnavailable):
            return isinstance(store.acquire(claim(key, "ben", ttl=1)), Lease)
        return False

    return wait_until(free, "the key to be free", timeout=10)


def test_a_killed_node_is_an_outage_for_its_keys(cluster: RedisCluster) -> None:
    """Nobody has taken over: an outage, in bounded time, and the same store works once the node is back."""
    with opened(cluster_url(cluster) + QUICK) as store:
        take(store, "wallet")
        place = next(node for node in cluster.nodes if node.ask("DBSIZE"))
        place.kill()
        with pytest.raises(StoreUnavailable), within_reason():
            store.acquire(claim("wallet", "ben"))
        cluster.heal()
        assert _settled(store, "wallet")


def test_a_cluster_that_is_away_is_an_outage(cluster: RedisCluster) -> None:
    """No node answers a new client: one line that says so."""
    for node in cluster.nodes:
        node.kill()
    with opened(cluster_url(cluster) + QUICK) as store, pytest.raises(StoreUnavailable) as caught:
        store.acquire(claim("wallet"))
    assert "\n" not in str(caught.value)
