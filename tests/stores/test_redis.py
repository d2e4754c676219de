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
    CrowdsExpiringContract,
    EvictsContract,
    ExpiringContract,
    HandingContract,
    LinesContract,
    NotesContract,
    PositionsContract,
    ProcessContract,
    QueuesContract,
    RushContract,
    ServerContracts,
)
from tests.stores.redis_stores import NEWEST, cluster_url, sentinel_url

if TYPE_CHECKING:
    from tests.servers.redis import RedisServer
    from tests.servers.redis_groups import RedisCluster, SentinelGroup
    from tests.stores.contract import OpensWith


class _Way(ServerContracts, LinesContract):
    """What a way to a server has to carry: requests, answers and wakes. What a server makes of them is no way's."""

    store_type = RedisStore
    #: The crowd of 125 is for the first form.
    contenders = 12
    crowd_in_line = 12

    @pytest.fixture
    def open_with(self, url: str) -> OpensWith:
        return functools.partial(_with_window, url)


class _Contract(
    _Way,
    EvictsContract,
    ExpiringContract,
    HandingContract,
    NotesContract,
    PositionsContract,
    QueuesContract,
    CrowdsContract,
    CrowdsExpiringContract,
    CrowdEvictsContract,
):
    """What a server does, of each kind."""

    short = 0.1


def _with_window(url: str, window: float) -> Any:
    return from_any_url(f"{url}{'&' if '?' in url else '?'}claim_window={window}")


class TestRedis(_Contract, CrowdLinesContract, RushContract):
    """One server over TCP."""

    if NEWEST:
        contenders = ProcessContract.contenders
        crowd_in_line = LinesContract.crowd_in_line

    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url


@pytest.mark.newest
class TestValkey(_Contract, CrowdLinesContract, RushContract):
    """valkey:// at a Valkey."""

    @pytest.fixture
    def url(self, valkey_url: str) -> str:
        return valkey_url.replace("redis://", "valkey://")


@pytest.mark.newest
class TestUnixSocket(_Way):
    """unix:// at a socket."""

    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        redis_server.flush()
        return redis_server.unix_url


@pytest.mark.newest
class TestTls(_Way):
    """rediss:// with a certificate of one's own."""

    @pytest.fixture
    def url(self, redis_tls_server: RedisServer) -> str:
        redis_tls_server.flush()
        return redis_tls_server.url


class TestSentinel(_Way):
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
