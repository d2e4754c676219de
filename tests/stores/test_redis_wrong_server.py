"""A URL that is right, and a server that is not the one it means."""

from __future__ import annotations

import contextlib
import re
import ssl
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.stores import Store, open_store
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim, take
from tests.stores.redis_sayings import SECRET, is_one_clean_line, refusal_of, unclosed
from tests.stores.redis_stores import QUICK
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.redis_groups import RedisCluster


@pytest.fixture(scope="module")
def replica(redis_server: RedisServer) -> Iterator[RedisServer]:
    with RedisServer(replica_of=redis_server) as server:
        yield server


def test_a_read_only_replica_gives_no_lock(replica: RedisServer) -> None:
    """It says that the master is to be named."""
    with contextlib.closing(open_store(replica.url)) as store:
        with pytest.raises(StoreUnavailable, match=r"refused.*read-only replica: name the master") as caught:
            store.acquire(claim("never taken"))
        is_one_clean_line(caught.value)


def test_a_master_that_became_a_replica_neither_renews_nor_releases(redis_url: str) -> None:
    """After a demotion its locks are no longer its own to change: an outage, not a loss and not a no."""
    assert redis_url
    with RedisServer() as master, RedisServer() as chosen, contextlib.closing(open_store(master.url)) as store:
        lease = take(store, "wallet")
        chosen.ask("SET", "lock:{wallet}", f"{lease.fence}:anna", "PX", 30_000)
        master.ask("REPLICAOF", "127.0.0.1", chosen.port)
        wait_until(master.answers, "the demoted master to be in sync")
        for verb in (lambda: store.renew([lease]), lambda: store.release(lease.claim)):
            with pytest.raises(StoreUnavailable, match="read-only replica"):
                verb()


def test_a_plain_server_is_no_cluster(redis_server: RedisServer) -> None:
    """redis+cluster:// at a single Redis is told what to write."""
    assert "is not a Cluster node: write redis://" in refusal_of(f"redis+cluster://127.0.0.1:{redis_server.port}")


def test_a_cluster_node_is_no_plain_server(redis_cluster: RedisCluster) -> None:
    """redis:// at a node of a Cluster is told what to write, for a key that lives elsewhere."""
    with contextlib.closing(open_store(f"redis://127.0.0.1:{redis_cluster.nodes[0].port}/0")) as store:
        with pytest.raises(StoreUnavailable, match="is a Cluster node: write redis\\+cluster://") as caught:
            # One of a hundred keys lives on another node.
            _acquire_all(store, [f"wallet {number}" for number in range(100)])
        is_one_clean_line(caught.value)
    redis_cluster.flush()


def _acquire_all(store: Store, keys: list[str]) -> None:
    for key in keys:
        store.acquire(claim(key))


def test_a_plain_server_is_no_sentinel(redis_server: RedisServer) -> None:
    """redis+sentinel:// at a Redis."""
    url = f"redis+sentinel://127.0.0.1:{redis_server.port}/mymaster{QUICK}"
    assert "is no Sentinel: name the Sentinels" in refusal_of(url)


def test_a_database_that_is_not_there_is_said(redis_server: RedisServer) -> None:
    """Redis has 16 unless told otherwise."""
    assert "has fewer databases: use a lower number" in refusal_of(f"redis://127.0.0.1:{redis_server.port}/99")


def test_a_socket_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The path is in the line."""
    with unclosed():
        assert re.search("none.sock.*check that the server runs", refusal_of(f"unix://{tmp_path}/none.sock"))


def test_tls_to_a_server_without_is_said(redis_server: RedisServer) -> None:
    """rediss:// at a plain port."""
    url = f"rediss://:{SECRET}@127.0.0.1:{redis_server.port}/0?ssl_cert_reqs=none&{QUICK[1:]}"
    assert re.search("does not speak TLS here: write redis://|socket_timeout", refusal_of(url))


def test_no_tls_to_a_server_with_is_said(redis_tls_server: RedisServer) -> None:
    """redis:// at a TLS port."""
    assert "rediss://" in refusal_of(f"redis://127.0.0.1:{redis_tls_server.port}/0{QUICK}")


def test_an_unknown_certificate_is_said(redis_tls_server: RedisServer) -> None:
    """A self-signed certificate is not trusted before its authority is named."""
    assert "not trusted: add ?ssl_ca_certs=" in refusal_of(f"rediss://127.0.0.1:{redis_tls_server.port}/0")


@pytest.mark.parametrize("spelling", ["none", "CERT_NONE", "cert_none"])
def test_a_certificate_need_not_be_checked(redis_tls_server: RedisServer, spelling: str) -> None:
    """As redis-py spells it, and as Celery does."""
    url = f"rediss://127.0.0.1:{redis_tls_server.port}/0?ssl_cert_reqs={spelling}"
    with contextlib.closing(open_store(url)) as store:
        take(store, "wallet", spelling)
        assert store.release(claim("wallet", spelling))


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_celerys_own_tls_settings_are_taken(redis_tls_server: RedisServer, scheme: str) -> None:
    """What broker_use_ssl says comes as options, and means TLS with either scheme."""
    options = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(redis_tls_server.certificate)}
    with contextlib.closing(open_store(f"{scheme}://127.0.0.1:{redis_tls_server.port}/0", options=options)) as store:
        take(store, "wallet", scheme)
        assert store.release(claim("wallet", scheme))


def test_a_server_that_starts_later_is_found(redis_url: str) -> None:
    """A store whose server is not there yet is an outage, and works as soon as it is."""
    assert redis_url
    server = RedisServer()
    with contextlib.closing(server), contextlib.closing(open_store(server.url)) as store:
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet"))
        server.start()
        take(store, "wallet")


def test_a_server_without_connections_left_is_said(redis_url: str) -> None:
    """The limit maxclients is reached: said so, and nothing hangs."""
    assert redis_url
    with RedisServer(maxclients="3") as server, server.client() as first, server.client() as second:
        first.ping()
        second.ping()
        with server.client() as third:
            third.ping()
            assert re.search("raise its maxclients|check that it runs", refusal_of(f"{server.url}{QUICK}"))
