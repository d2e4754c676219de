"""The Redis store keeps the contract in all its forms."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url
from celery_locks.stores.redis import RedisStore
from tests.stores.contract import (
    ExpiringContract,
    InspectContract,
    LostAnswerContract,
    ProcessContract,
    StoreContract,
)
from tests.stores.redis_stores import cluster_url, sentinel_url

if TYPE_CHECKING:
    from tests.servers.redis import RedisServer
    from tests.servers.redis_groups import RedisCluster, SentinelGroup
    from tests.stores.contract import Opens


class _Contract(StoreContract, ExpiringContract, InspectContract, LostAnswerContract, ProcessContract):
    store_type = RedisStore
    short = 0.1
    #: The crowd of 125 is for the first form: what differs in the others is the way to the server.
    contenders = 12


class TestRedis(_Contract):
    """One server over TCP."""

    contenders = ProcessContract.contenders

    @pytest.fixture
    def open_store(self, redis_url: str) -> Opens:
        return functools.partial(from_any_url, redis_url)


class TestValkey(_Contract):
    """valkey:// at a Valkey."""

    @pytest.fixture
    def open_store(self, valkey_url: str) -> Opens:
        return functools.partial(from_any_url, valkey_url.replace("redis://", "valkey://"))


class TestUnixSocket(_Contract):
    """unix:// at a socket."""

    @pytest.fixture
    def open_store(self, redis_server: RedisServer) -> Opens:
        redis_server.flush()
        return functools.partial(from_any_url, redis_server.unix_url)


class TestTls(_Contract):
    """rediss:// with a certificate of one's own."""

    @pytest.fixture
    def open_store(self, redis_tls_server: RedisServer) -> Opens:
        redis_tls_server.flush()
        return functools.partial(from_any_url, redis_tls_server.url)


class TestSentinel(_Contract):
    """redis+sentinel:// at a master with a replica."""

    @pytest.fixture
    def open_store(self, sentinel_group: SentinelGroup) -> Opens:
        sentinel_group.flush()
        return functools.partial(from_any_url, sentinel_url(sentinel_group))


class TestCluster(_Contract):
    """redis+cluster:// at three masters, where each process looks up the nodes for itself."""

    @pytest.fixture
    def open_store(self, redis_cluster: RedisCluster) -> Opens:
        redis_cluster.flush()
        return functools.partial(from_any_url, cluster_url(redis_cluster))
