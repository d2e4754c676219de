"""Redis servers that work together start, answer, and are whole again after a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
import redis.sentinel

if TYPE_CHECKING:
    from tests.servers.redis_groups import RedisCluster, SentinelGroup


def test_sentinels_know_the_master(sentinel_group: SentinelGroup) -> None:
    """A Sentinel client finds the master and writes to it; the replica refuses a write."""
    sentinels = redis.sentinel.Sentinel(sentinel_group.addresses)
    with sentinels.master_for(sentinel_group.service) as master:
        assert master.set("key", "value")
    with sentinel_group.replica.client() as replica, pytest.raises(redis.ReadOnlyError):
        replica.set("key", "other")
    for sentinel in sentinels.sentinels:
        sentinel.close()


def test_a_replica_takes_over_and_the_group_heals(sentinel_group: SentinelGroup) -> None:
    """When the master dies its replica takes writes; healed, the old master is the new replica."""
    old = sentinel_group.master
    sentinel_group.fail_over()
    assert sentinel_group.master is not old
    assert sentinel_group.master.ask("SET", "key", "value")
    assert sentinel_group.heal()
    assert sentinel_group.replica is old


def test_the_cluster_spreads_keys(redis_cluster: RedisCluster) -> None:
    """A Cluster client reaches every key, and the keys lie on all three nodes."""
    with redis.RedisCluster.from_url(redis_cluster.url) as client:
        for number in range(60):
            client.set(f"key:{number}", number)
        assert client.get("key:7") == b"7"
    assert all(node.ask("DBSIZE") for node in redis_cluster.nodes)
    redis_cluster.flush()
    assert not any(node.ask("DBSIZE") for node in redis_cluster.nodes)


def test_the_cluster_heals(redis_cluster: RedisCluster) -> None:
    """A cluster that lost a node is whole again after heal."""
    redis_cluster.nodes[1].kill()
    assert redis_cluster.heal()
    with redis.RedisCluster.from_url(redis_cluster.url) as client:
        assert client.set("key", "value")
