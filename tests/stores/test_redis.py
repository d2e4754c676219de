"""The Redis store keeps the contract in all its forms."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.stores import open_store as from_any_url
from celery_locks.stores.redis import RedisStore
from tests.stores.contract import (
    CrowdEvictsContract,
    CrowdLinesContract,
    CrowdsContract,
    EvictsContract,
    ExpiringContract,
    HandingContract,
    LinesContract,
    ProcessContract,
    QueuesContract,
    RushContract,
    ServerContracts,
)
from tests.stores.redis_stores import cluster_url, sentinel_url

if TYPE_CHECKING:
    from tests.servers.redis import RedisServer
    from tests.servers.redis_groups import RedisCluster, SentinelGroup
    from tests.stores.contract import OpensWith


class _Contract(
    ServerContracts,
    EvictsContract,
    ExpiringContract,
    HandingContract,
    LinesContract,
    QueuesContract,
    CrowdsContract,
    CrowdEvictsContract,
):
    store_type = RedisStore
    short = 0.1
    #: The crowd of 125 is for the first form: what differs in the others is the way to the server.
    contenders = 12
    crowd_in_line = 12

    @pytest.fixture
    def open_with(self, url: str) -> OpensWith:
        return functools.partial(_with_window, url)


def _with_window(url: str, window: float) -> Any:
    return from_any_url(f"{url}{'&' if '?' in url else '?'}claim_window={window}")


class TestRedis(_Contract, CrowdLinesContract, RushContract):
    """One server over TCP."""

    contenders = ProcessContract.contenders
    crowd_in_line = LinesContract.crowd_in_line

    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url


class TestValkey(_Contract, CrowdLinesContract, RushContract):
    """valkey:// at a Valkey."""

    @pytest.fixture
    def url(self, valkey_url: str) -> str:
        return valkey_url.replace("redis://", "valkey://")


class TestUnixSocket(_Contract):
    """unix:// at a socket."""

    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        redis_server.flush()
        return redis_server.unix_url


class TestTls(_Contract):
    """rediss:// with a certificate of one's own."""

    @pytest.fixture
    def url(self, redis_tls_server: RedisServer) -> str:
        redis_tls_server.flush()
        return redis_tls_server.url


class TestSentinel(_Contract):
    """redis+sentinel:// at a master with a replica."""

    @pytest.fixture
    def url(self, sentinel_group: SentinelGroup) -> str:
        sentinel_group.flush()
        return sentinel_url(sentinel_group)


class TestCluster(_Contract, CrowdLinesContract, RushContract):
    """redis+cluster:// at three masters, where each process looks up the nodes for itself."""

    @pytest.fixture
    def url(self, redis_cluster: RedisCluster) -> str:
        redis_cluster.flush()
        return cluster_url(redis_cluster)
