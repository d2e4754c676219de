"""A ZooKeeper that hangs, is not there, or lacks a majority: an outage in bounded time, and nothing left behind."""

from __future__ import annotations

import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease, Verdict
from celery_locks.stores.zookeeper.client import Client
from tests.stores.contract.asking import claim, refused, take, verbs, verdict
from tests.stores.zookeeper_stores import QUICK, is_free, lasting, opened, place_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.zookeeper import ZooKeeperStore
    from tests.servers.proxy import Proxy
    from tests.servers.zookeeper import ZooKeeperEnsemble, ZooKeeperServer
    from tests.stores.places import Place


@pytest.fixture
def place(zookeeper_url: str) -> Place:
    return place_of(zookeeper_url)


def test_a_release_without_a_connection_is_done_when_it_is_back(
    store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore
) -> None:
    """An outage at a release is said, the key is free once the connection is back, and a repetition says True."""
    lease, kept = take(store, "wallet"), take(store, "kept")
    way.refuse()
    with pytest.raises(StoreUnavailable):
        store.release(lease.claim)
    refused(other, "wallet", "ben")
    way.accept()
    wait_until(lambda: is_free(other, "wallet"), "the key to be given back")
    assert store.release(lease.claim)
    take(other, "wallet", "ben")
    assert store.release(lease.claim)
    assert kept.held()


def test_what_was_never_asked_for_is_not_undone(
    store: ZooKeeperStore, way: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acquires that find no connection write nothing, neither then nor when it is back: each write is a majority's."""
    written: list[Client] = []
    transaction = Client.transaction
    way.refuse()
    wait_until(lambda: not store._session._client.live.is_set(), "the broken connection to be noticed")
    monkeypatch.setattr(Client, "transaction", lambda client: written.append(client) or transaction(client))
    for owner in ("anna", "ben"):
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet", owner))
    way.accept()
    wait_until(store._session._client.live.is_set, "the connection to be back")
    take(store, "wallet", "anna")
    assert len(written) == 1


def test_an_acquire_that_lost_its_connection_is_undone_once(
    way: Proxy, other: ZooKeeperStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it was done: it is taken back by one request, when there is a connection again."""
    written: list[Client] = []
    transaction = Client.transaction
    with opened(lasting(way.url) + "&timeout=2") as store, ThreadPoolExecutor() as pool:
        take(store, "first")
        monkeypatch.setattr(Client, "transaction", lambda client: written.append(client) or transaction(client))
        way.hold("answers")
        unheard = pool.submit(store.acquire, claim("wallet"))
        wait_until(lambda: not is_free(other, "wallet"), "the request to be done")
        way.refuse()
        with pytest.raises(StoreUnavailable):
            unheard.result(30)
        way.heal()
        wait_until(lambda: not store._session.known.still_to_leave(), "the word that it is undone")
        assert is_free(other, "wallet")
        assert len(written) == 2


def test_a_server_that_says_nothing_to_a_session_is_asked_again(way: Proxy) -> None:
    """One that has just started may never answer who takes up a session: the lock is not lost by waiting for that."""
    with opened(lasting(way.url, 12) + "&timeout=30") as store:
        lease = take(store, "wallet")
        way.lose_answer(store._session._client._session_passwd)
        way.cut()
        assert verdict(store, lease) is Verdict.RENEWED


def test_a_frozen_server_costs_a_bounded_time(
    store: ZooKeeperStore, zookeeper_server: ZooKeeperServer, other: ZooKeeperStore
) -> None:
    """Each verb on a frozen server is an outage after its timeout, and says so in one line."""
    lease = take(store, "wallet")
    zookeeper_server.pause()
    for verb in (*verbs(store, lease), lambda: store.force_release(lease.key)):
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"timeout=0\.5$") as raised:
            verb()
        assert "\n" not in str(raised.value)
        # Half a second, and much for a busy machine: without a bound it would hang.
        assert time.monotonic() - before < 15
    zookeeper_server.resume()
    wait_until(lambda: is_free(other, "wallet"), "the release to be done")
    wait_until(lambda: is_free(other, "other"), "what was given up to be undone")


def test_no_server_at_all_is_an_outage(zookeeper_server: ZooKeeperServer, zookeeper_url: str) -> None:
    """A store whose server is down, or whose host has no address, says so in time, and works once it is there."""
    zookeeper_server.stop()
    with opened(zookeeper_url + QUICK) as store:
        with pytest.raises(StoreUnavailable, match="did not answer"):
            store.acquire(claim("wallet"))
        assert not store.release(claim("wallet", "ben"))
        zookeeper_server.start()
        wait_until(lambda: _takes(store, "wallet"), "the store to find its server")
    with opened("zookeeper://no-such-host.invalid?timeout=0.3") as nowhere:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"no-such-host\.invalid"):
                nowhere.acquire(claim("wallet"))


def test_kazoo_does_not_fill_the_log(store: ZooKeeperStore, way: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that breaks and comes back leaves no line in the log; what matters of it the store says."""
    with caplog.at_level(logging.DEBUG, "kazoo"), caplog.at_level(logging.INFO):
        way.cut()
        take(store, "wallet")
        store.close()
    assert [record.getMessage() for record in caplog.records] == []


def test_without_a_majority_nobody_gets_a_key(
    zookeeper_ensemble: ZooKeeperEnsemble, zookeeper_ensemble_url: str
) -> None:
    """One of three servers gives no key; when a second is back the holder still holds or knows that it does not."""
    with opened(zookeeper_ensemble_url + QUICK) as store, opened(zookeeper_ensemble_url + QUICK) as other:
        lease = take(store, "wallet")
        for node in zookeeper_ensemble.nodes[:2]:
            node.kill()
        for client in (store, other):
            wait_until(lambda: cannot_take(client), "the majority to be missed")  # noqa: B023 - called within the loop
        zookeeper_ensemble.heal()
        wait_until(lambda: not cannot_take(other), "the majority to be back", timeout=30)
        assert refused_or_lost(other, lease)


def cannot_take(store: ZooKeeperStore) -> bool:
    with contextlib.suppress(StoreUnavailable):
        store.acquire(claim("any", f"owner {time.monotonic()}"))
        return False
    return True


def refused_or_lost(other: ZooKeeperStore, lease: Lease) -> bool:
    return isinstance(other.acquire(claim(lease.key, "ben")), Busy) or not lease.held()


def _takes(store: ZooKeeperStore, key: str) -> bool:
    # An owner that gave up gets nothing more: each try has one of its own.
    with contextlib.suppress(StoreUnavailable):
        return isinstance(store.acquire(claim(key, f"cleo {time.monotonic()}")), Lease)
    return False
