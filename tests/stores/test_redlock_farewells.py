"""What is said reaches also the nodes that the majority did not need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stores.contract.asking import take
from tests.stores.redlock_stores import Nodes, everywhere, opened, owners
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.redlock import RedlockStore
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place
    from tests.stores.redlock_stores import Ways


@pytest.fixture
def place(nodes: list[RedisServer]) -> Place:
    return Nodes(nodes)


def test_a_lease_reaches_a_node_that_is_connected_late(ways: Ways, nodes: list[RedisServer]) -> None:
    """Two of three decide, and the third is told as soon as it is there: else one more loss would end the lease."""
    ways[0].delay(0.1)
    with opened(ways) as store:
        take(store, "wallet", ttl=600)
        assert owners(nodes[:1]) == [None]
        _all_told(store, nodes, "anna")


def test_a_release_reaches_a_node_that_was_out_of_reach(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer]
) -> None:
    """It could not be told, for nobody could connect: it is told as soon as it can be, long before the ttl is over."""
    lease = take(store, "wallet", ttl=600)
    everywhere(nodes, "anna")
    ways[0].refuse()
    wait_until(lambda: store.inspect("none") or not _asked(store), "the node to be left alone")
    assert store.release(lease.claim)
    assert owners(nodes[1:]) == [None] * 2
    assert owners(nodes[:1]) == ["anna"]
    ways[0].accept()
    _all_told(store, nodes, None)


def test_a_release_that_went_down_with_its_connection_is_sent_again(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer]
) -> None:
    """The majority had answered, and nobody waited any more: the node hears it on the next connection."""
    lease = take(store, "wallet", ttl=600)
    everywhere(nodes, "anna")
    ways[0].hold("requests")
    assert store.release(lease.claim)
    ways[0].cut()
    ways[0].let_go("requests")
    assert owners(nodes[:1]) == ["anna"]
    _all_told(store, nodes, None)


def test_a_release_reaches_a_node_that_forgot_its_script(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer]
) -> None:
    """It says so when the majority has long decided: it is told once more."""
    lease = take(store, "wallet", ttl=600)
    everywhere(nodes, "anna")
    for node in nodes:
        node.ask("SCRIPT", "FLUSH")
    ways[0].delay(0.1, "answers")
    assert store.release(lease.claim)
    _all_told(store, nodes, None)


def _all_told(store: RedlockStore, nodes: list[RedisServer], owner: str | None) -> None:
    wait_until(lambda: store.inspect("none") or owners(nodes) == [owner] * 3, "the node to be told", interval=0.05)


def _asked(store: RedlockStore) -> bool:
    """Whether the first node is connected to, or about to be."""
    return store._rings._idle[0].nodes[0]._link is not None
