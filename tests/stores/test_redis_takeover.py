"""A node of a Redis Cluster that hangs or is gone, with and without another that takes over."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import TimeoutError  # noqa: A004 - redis-py's own

from celery_locks.errors import StoreUnavailable
from celery_locks.keeper import Keeper
from celery_locks.lease import Lease, State, Verdict
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.redis_stores import QUICK, calls, cluster_url, one_key_a_master, opened, within_reason
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis_groups import RedisCluster

ENDS = pytest.mark.parametrize("end", [RedisServer.pause, RedisServer.kill], ids=["hung", "killed"])
TTL = 3.0


@pytest.fixture
def cluster(spared_cluster: RedisCluster) -> RedisCluster:
    spared_cluster.flush()
    return spared_cluster


@pytest.fixture
def store(cluster: RedisCluster) -> Iterator[RedisStore]:
    with opened(cluster_url(cluster) + QUICK) as store:
        yield store


@pytest.fixture
def keys(store: RedisStore, cluster: RedisCluster) -> list[str]:
    """A key at each master; the first has a spare."""
    return one_key_a_master(store, cluster)


@ENDS
def test_a_store_finds_who_took_over(
    store: RedisStore, cluster: RedisCluster, keys: list[str], end: Callable[[RedisServer], None]
) -> None:
    """An outage until then; afterwards the same store gets the key, and renews a lease of before, at the new master."""
    lease, former = take(store, keys[0], ttl=60), _spared(cluster)
    spare = cluster.spare_of(former)
    wait_until(lambda: spare.ask("DBSIZE") == former.ask("DBSIZE"), "the spare to have the lock")
    end(former)
    with pytest.raises(StoreUnavailable), within_reason():
        store.renew([lease])
    cluster.take_over(spare)
    assert wait_until(lambda: _said(lambda: verdict(store, lease)), "a verdict", timeout=30) is Verdict.RENEWED
    assert store.release(lease.claim)
    assert take(store, keys[0], "ben").fence > lease.fence


@ENDS
def test_a_free_key_is_given_by_who_took_over(
    store: RedisStore, cluster: RedisCluster, keys: list[str], end: Callable[[RedisServer], None]
) -> None:
    """Also when nobody beats: whoever acquires next is told where the key lives now."""
    former = _spared(cluster)
    spare = cluster.spare_of(former)
    end(former)
    with pytest.raises(StoreUnavailable):
        store.acquire(claim(keys[0]))
    cluster.take_over(spare)
    answer = wait_until(lambda: _said(lambda: store.acquire(claim(keys[0], "ben"))), "an answer", timeout=30)
    assert isinstance(answer, Lease)


def _spared(cluster: RedisCluster) -> RedisServer:
    def spared() -> RedisServer | None:
        return next((master for master in cluster.masters if master.ask("ROLE")[2]), None)

    return wait_until(spared, "a master to have its spare", timeout=30)


def _said(verb: Callable[[], object]) -> object:
    with contextlib.suppress(StoreUnavailable):
        return verb()
    return None


@ENDS
def test_a_node_that_is_away_costs_no_lease_of_the_others(
    store: RedisStore, cluster: RedisCluster, keys: list[str], end: Callable[[RedisServer], None]
) -> None:
    """Its own leases are lost when their time is over. Those at other nodes are kept as long as ever."""
    lost: list[Lease] = []
    keeper, leases = Keeper(store), [take(store, key, owner=key, ttl=TTL) for key in keys]
    for lease in leases:
        keeper.watch(lease, TTL / 5, lost.append)
    end(cluster.masters[0])
    over = time.monotonic() + 3 * TTL
    wait_until(lambda: lost and time.monotonic() > over, "several ttls to go by", timeout=30)
    assert lost == leases[:1]
    assert all(lease.held() for lease in leases[1:])
    for lease in leases:
        keeper.forget(lease)


def test_a_kept_lease_outlives_its_master(store: RedisStore, cluster: RedisCluster, keys: list[str]) -> None:
    """Beats that had no answer from a master that hangs find its successor."""
    lease, former = take(store, keys[0], ttl=60), _spared(cluster)
    spare, keeper = cluster.spare_of(former), Keeper(store)
    wait_until(lambda: spare.ask("DBSIZE") == former.ask("DBSIZE"), "the spare to have the lock")
    keeper.watch(lease, 0.2)
    former.pause()
    wait_until(lambda: lease.state is State.UNKNOWN, "a beat without an answer", timeout=30)
    cluster.take_over(spare)
    wait_until(lambda: lease.state is State.HELD, "a beat that is answered", timeout=30)
    assert lease.held()
    keeper.forget(lease)


@ENDS
def test_a_verdict_is_unknown_only_where_nobody_answers(
    store: RedisStore, cluster: RedisCluster, keys: list[str], end: Callable[[RedisServer], None]
) -> None:
    """One node away: its lease is in doubt, the others have their verdicts. All away: an outage."""
    leases = [take(store, key) for key in keys]
    store.release(leases[2].claim)
    end(cluster.masters[0])
    for _ in range(3):
        assert store.renew(leases) == [Verdict.UNKNOWN, Verdict.RENEWED, Verdict.LOST]
    for node in cluster.nodes:
        node.pause()
    with pytest.raises(StoreUnavailable), within_reason():
        store.renew(leases)


@pytest.mark.parametrize("place", range(3))
def test_a_new_store_needs_no_node_but_its_keys_own(cluster: RedisCluster, keys: list[str], place: int) -> None:
    """Whichever hangs, a store that was opened after that takes the keys of the others."""
    cluster.masters[place].pause()
    for key in keys[:place] + keys[place + 1 :]:
        with opened(cluster_url(cluster) + QUICK) as store:
            assert take(store, key).held()


def test_a_list_of_a_cluster_that_answers_in_part_is_an_outage(
    store: RedisStore, cluster: RedisCluster, keys: list[str]
) -> None:
    """Rather that than a list that looks whole; and it is whole again when the cluster is."""
    for key in keys:
        take(store, key)
    cluster.masters[1].pause()
    with pytest.raises(StoreUnavailable):
        list(store.list())
    # As when it ends after its names were told.
    with pytest.raises(TimeoutError):
        list(store._shown([store._lock_name(key) for key in keys]))
    cluster.heal()
    assert {holding.key for holding in store.list()} == {*keys}


def test_a_look_up_that_fails_forgets_nothing(cluster: RedisCluster, keys: list[str]) -> None:
    """Where nobody says who has the keys now, they are asked for where they were."""
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "locks", "on", "nopass", "~*", "+@all")
    with opened(cluster_url(cluster).replace("://", "://locks:any@") + QUICK) as store:
        take(store, keys[1])
        for node in cluster.nodes:
            node.ask("ACL", "SETUSER", "locks", "-cluster|slots")
        master = cluster.masters[1]
        master.pause()
        with pytest.raises(StoreUnavailable):
            store.acquire(claim(keys[1], "ben"))
        master.resume()
        wait_until(master.answers, "the master to answer")
        assert store.release(claim(keys[1]))
    for node in cluster.nodes:
        node.ask("ACL", "DELUSER", "locks")


def test_who_has_the_keys_is_asked_of_those_that_answer(
    store: RedisStore, cluster: RedisCluster, keys: list[str]
) -> None:
    """Of each in turn, for one may not have heard of a takeover, and never of a node that hangs."""
    hung, others = cluster.masters[0], [node for node in cluster.nodes if node is not cluster.masters[0]]
    before, connected = {node: calls(node, "cluster|slots") for node in others}, _connected(hung)
    hung.pause()
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            store.acquire(claim(keys[0]))
    assert all(calls(node, "cluster|slots") > before[node] for node in others)
    hung.resume()
    # It accepts them in the order in which they came: one for each acquire but the first, and this question's own.
    assert _connected(hung) - connected == 5


def _connected(server: RedisServer) -> int:
    """How often somebody connected to it."""
    return int(server.ask("INFO", "stats")["total_connections_received"])
