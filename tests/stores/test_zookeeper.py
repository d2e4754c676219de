"""The ZooKeeper store keeps the contract, on one server and on an ensemble of three."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url
from celery_locks.stores.zookeeper import ZooKeeperStore
from tests.stores.contract import (
    ConnectionContract,
    FaultContract,
    InspectContract,
    LostAnswerContract,
    ProcessContract,
    StoreContract,
    StoreFixtures,
    WatchesContract,
    killed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.zookeeper import ZooKeeperEnsemble, ZooKeeperServer
    from tests.stores.contract import Opens


class TestZooKeeper(
    StoreContract, ConnectionContract, InspectContract, LostAnswerContract, ProcessContract, WatchesContract
):
    """One server."""

    store_type = ZooKeeperStore

    @pytest.fixture
    def open_store(self, zookeeper_url: str) -> Opens:
        return functools.partial(from_any_url, zookeeper_url)


class TestZooKeeperEnsemble(StoreContract, LostAnswerContract):
    """Three servers: each client speaks to any of them, which may lag behind the leader.

    What differs is who is asked. The rest is proven on one server, in a third of the time.
    """

    store_type = ZooKeeperStore

    @pytest.fixture
    def open_store(self, zookeeper_ensemble_url: str) -> Opens:
        return functools.partial(from_any_url, zookeeper_ensemble_url)


class TestZooKeeperFaults(FaultContract, StoreFixtures):
    """One server that is killed and started again: sessions and their locks outlive it.

    A holder that was frozen counts for itself how long the server keeps its session, so it knows.
    """

    @pytest.fixture
    def open_store(self, zookeeper_url: str) -> Opens:
        return functools.partial(from_any_url, zookeeper_url)

    @pytest.fixture
    def upset(self, zookeeper_server: ZooKeeperServer) -> Callable[[], object]:
        return killed(zookeeper_server)


class TestZooKeeperEnsembleFaults(FaultContract, StoreFixtures):
    """Three servers whose leader is killed: the next one knows all sessions and their locks."""

    @pytest.fixture
    def open_store(self, zookeeper_ensemble_url: str) -> Opens:
        return functools.partial(from_any_url, zookeeper_ensemble_url)

    @pytest.fixture
    def upset(self, zookeeper_ensemble: ZooKeeperEnsemble) -> Callable[[], object]:
        return zookeeper_ensemble.fail_over
