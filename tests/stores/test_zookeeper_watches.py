"""Watches of the ZooKeeper store: what ends them, and that they leave little behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from tests.stores.contract.asking import claim, refused, take
from tests.stores.contract.watchers import LONG, pause, running, waiting, watched
from tests.stores.zookeeper_stores import end_session, place_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.zookeeper import ZooKeeperStore
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place


@pytest.fixture
def place(zookeeper_url: str) -> Place:
    return place_of(zookeeper_url)


@pytest.fixture
def holder(store: ZooKeeperStore, other: ZooKeeperStore) -> ZooKeeperStore:
    """A client whose way is never broken, and that has the key, as the other one has found."""
    take(other, "wallet")
    refused(store, "wallet")
    return other


def test_watches_of_one_key_share_one_watcher(store: ZooKeeperStore, holder: ZooKeeperStore) -> None:
    """However often a taken key is watched, kazoo and the server keep one watch, and none when the key is free."""
    for _ in range(5):
        watched(store, "wallet", 0.02)
    client = store._session._client
    assert client is not None
    assert [len(each) for each in client._data_watchers.values()] == [1]
    assert holder.release(claim("wallet"))
    wait_until(lambda: not client._data_watchers, "the watch to be gone")
    watched(store, "wallet")
    assert not client._data_watchers
    assert not store._session._watching


def test_a_release_while_the_connection_is_gone_is_not_missed(
    store: ZooKeeperStore, way: Proxy, holder: ZooKeeperStore
) -> None:
    """The end of the connection ends a watch, early, and the look that follows tells."""
    with running(lambda: store.watch("wallet", LONG)) as ended:
        pause(0.3)
        way.refuse()
        assert holder.release(claim("wallet"))
        wait_until(lambda: ended, "the watch to end", 30)
    way.accept()
    wait_until(lambda: store._session.number, "the connection")
    watched(store, "wallet")
    take(store, "wallet", "ben")


def test_the_end_of_the_session_ends_a_watch(store: ZooKeeperStore, holder: ZooKeeperStore, zookeeper_url: str) -> None:
    """And the next one is in the next session."""
    with running(lambda: store.watch("wallet", LONG)) as ended:
        pause(0.3)
        end_session(store, zookeeper_url)
        wait_until(lambda: ended, "the watch to end", 30)
    with waiting(store, "wallet") as waiter:
        assert holder.release(claim("wallet"))
        waiter.done()


def test_without_a_connection_it_is_an_outage(store: ZooKeeperStore, way: Proxy, holder: ZooKeeperStore) -> None:
    """As for every verb, within its time; a shorter watch ends at its deadline without a word."""
    del holder
    way.refuse()
    wait_until(lambda: store._session._client and not store._session._client.live.is_set(), "the connection to end")
    watched(store, "wallet", 0.1)
    with pytest.raises(StoreUnavailable):
        store.watch("wallet", LONG)
