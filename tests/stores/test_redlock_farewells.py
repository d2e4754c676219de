"""What is said reaches also the nodes that the majority did not need."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Verdict
from celery_locks.stores.redlock.node import KEPT
from tests.stores.contract.asking import take
from tests.stores.redlock_stores import Nodes, everywhere, opened, owners, warmed
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.lease import Lease
    from celery_locks.stores.redlock import RedlockStore
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place
    from tests.stores.redlock_stores import Ways


@pytest.fixture
def place(three_nodes: list[RedisServer]) -> Place:
    return Nodes(three_nodes)


def test_a_lease_reaches_a_node_that_is_connected_late(ways: Ways, nodes: list[RedisServer]) -> None:
    """Two of three decide, and the third is told as soon as it is there: else one more loss would end the lease."""
    ways[0].delay(0.1)
    with opened(ways) as store:
        take(store, "wallet", ttl=600)
        assert owners(nodes[:1]) == [None]
        _all_told(store, nodes, "anna")


def test_a_release_reaches_a_node_that_was_out_of_reach(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer], lease: Lease
) -> None:
    """It could not be told, for nobody could connect: it is told as soon as it can be, long before the ttl is over."""
    ways[0].refuse()
    wait_until(lambda: store.inspect("none") or not _asked(store), "the node to be left alone")
    assert store.release(lease.claim)
    assert owners(nodes[1:]) == [None] * 2
    assert owners(nodes[:1]) == ["anna"]
    ways[0].accept()
    _all_told(store, nodes, None)


def test_a_release_that_went_down_with_its_connection_is_sent_again(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer], lease: Lease
) -> None:
    """The majority had answered, and nobody waited any more: the node hears it on the next connection."""
    ways[0].hold("requests")
    assert store.release(lease.claim)
    ways[0].cut()
    ways[0].let_go("requests")
    assert owners(nodes[:1]) == ["anna"]
    _all_told(store, nodes, None)


def test_a_release_reaches_a_node_that_forgot_its_script(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer], lease: Lease
) -> None:
    """It says so when the majority has long decided: it is told once more."""
    for node in nodes:
        node.ask("SCRIPT", "FLUSH")
    ways[0].delay(0.1, "answers")
    assert store.release(lease.claim)
    _all_told(store, nodes, None)


def _all_told(store: RedlockStore, nodes: list[RedisServer], owner: str | None) -> None:
    wait_until(lambda: store.inspect("none") or owners(nodes) == [owner] * 3, "the node to be told", interval=0.05)


def test_a_release_is_kept_for_longer_than_its_claim(store: RedlockStore, ways: Ways, nodes: list[RedisServer]) -> None:
    """The lease may have been renewed for much longer, and the node out of reach has it for that long."""
    lease = take(store, "wallet", ttl=0.5)
    lease.ttl = 600
    assert store.renew([lease]) == [Verdict.RENEWED]
    everywhere(nodes, "anna")
    ways[0].refuse()
    wait_until(lambda: store.inspect("none") or not _asked(store), "the node to be left alone")
    assert store.release(lease.claim)
    end = time.monotonic() + 0.6
    wait_until(lambda: time.monotonic() > end, "the time of the claim to pass")
    ways[0].accept()
    _all_told(store, nodes, None)


def test_of_more_than_is_kept_the_latest_is_said(ways: Ways, nodes: list[RedisServer]) -> None:
    """A connection that owed hundreds of answers breaks: the release that came last is among what is said again."""
    with opened(ways, "?socket_timeout=60") as store:
        lease = take(warmed(store, nodes), "wallet", ttl=600)
        everywhere(nodes, "anna")
        ways[0].hold("requests")
        for number in range(KEPT // 2 + 1):
            assert store.release(take(store, f"key {number}", ttl=600).claim)
        assert store.release(lease.claim)
        assert owners(nodes[:1]) == ["anna"]
        ways[0].cut()
        ways[0].let_go("requests")
        _all_told(store, nodes, None)


def _asked(store: RedlockStore) -> bool:
    """Whether the first node is connected to, or about to be."""
    return store._rings._idle[0].nodes[0]._link is not None
