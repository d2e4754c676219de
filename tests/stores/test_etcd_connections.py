"""The connections of the etcd store: kept, its own after a fork, and never used again after an interrupt."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Verdict
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.etcd_stores import opened
from tests.stores.places import straight
from tests.stores.processes import Crew
from tests.stores.time_limits import SoftTimeLimit, struck_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.etcd import EtcdStore
    from tests.servers.etcd import EtcdServer
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place


@pytest.fixture
def place(etcd_url: str) -> Place:
    return straight(etcd_url, opened)


def test_nothing_is_connected_before_the_first_verb() -> None:
    """A worker starts also while its store is down."""
    with opened("etcd://127.0.0.1:9") as store:
        assert "etcd://127.0.0.1:9" in repr(store)


def test_one_connection_serves_many_verbs(proxy: Callable[[str], Proxy], etcd_url: str) -> None:
    """It is kept; only a beat has one of its own, which ends with it."""
    way = proxy(etcd_url)
    with opened(way.url) as store:
        for number in range(10):
            take(store, f"key {number}")
            refused(store, f"key {number}")
        assert len(way.connections) == 1


def test_a_connection_that_went_stale_is_replaced(store: EtcdStore, etcd_server: EtcdServer) -> None:
    """A server that was started again costs nothing but a new connection: its leases are still there."""
    lease = take(store, "wallet")
    etcd_server.restart()
    assert verdict(store, lease) is Verdict.RENEWED
    assert store.release(lease.claim)


def test_connections_cut_by_the_network_are_replaced(proxy: Callable[[str], Proxy], etcd_url: str) -> None:
    """A firewall that forgot them is no outage."""
    way = proxy(etcd_url)
    with opened(way.url) as store:
        for number in range(5):
            assert take(store, f"key {number}").held()
            way.cut()


def test_an_interrupted_acquire_leaves_no_mix_up(
    proxy: Callable[[str], Proxy], etcd_url: str, other: EtcdStore
) -> None:
    """A soft time limit while an answer is awaited: a release frees what was taken, the next request hears its own."""
    way = proxy(etcd_url)
    with opened(way.url) as store:
        take(store, "first")
        for after in (0.02, 0.08, 0.12, 0.17):
            way.delay(0.05, "answers")
            with pytest.raises(SoftTimeLimit), struck_after(after):
                _take_many(store, f"wallet {after}")
            way.delay(0)
            for number in range(100):
                store.release(claim(f"wallet {after} {number}", "anna"))
            assert list(other.list(f"wallet {after}*")) == []
            take(store, f"purse {after}", "ben")
            assert refused(store, f"purse {after}", "cleo").holder == "ben"


def test_a_child_has_connections_and_marks_of_its_own(store: EtcdStore, other: EtcdStore) -> None:
    """It neither speaks on its parent's nor ends them, and its end takes nothing from its parent."""
    lease = take(store, "wallet")
    assert store.release(take(store, "first").claim)
    (parents,) = store._wire.members[0]._idle
    marks = store._marks._lease

    def meddle() -> None:
        assert refused(store, "wallet").holder == "anna"
        assert store.release(take(store, "child", "child").claim)
        assert parents not in store._wire.members[0]._idle
        assert store._marks._lease != marks
        store.close()

    with Crew() as crew:
        crew.start(meddle)
        crew.done()
    assert store._wire.members[0]._idle == [parents]
    assert parents.sock is not None
    assert verdict(store, lease) is Verdict.RENEWED
    assert refused(other, "wallet").holder == "anna"


def test_threads_that_are_done_leave_no_open_connection(store: EtcdStore) -> None:
    """Connections are kept for as many threads as spoke at once, and closed with the store."""
    threads = [threading.Thread(target=take, args=(store, f"key {number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert 1 <= len(store._wire.members[0]._idle) <= 8
    store.close()
    assert not store._wire.members[0]._idle
    gc.collect()
    take(store, "wallet")


def _take_many(store: EtcdStore, name: str) -> None:
    for number in range(100):
        take(store, f"{name} {number}", "anna")
