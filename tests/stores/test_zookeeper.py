"""The ZooKeeper store keeps the contract, on one server and on an ensemble of three."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.stores.zookeeper import ZooKeeperStore
from tests.stores.contract import (
    ConnectionContract,
    CrowdEvictsContract,
    CrowdsContract,
    EvictsContract,
    FaultContract,
    LostAnswerContract,
    RushContract,
    Scene,
    ServerContracts,
    StoreContract,
    WatchesContract,
    killed,
)

if TYPE_CHECKING:
    from tests.servers.zookeeper import ZooKeeperEnsemble, ZooKeeperServer


class TestZooKeeper(
    ServerContracts,
    ConnectionContract,
    CrowdsContract,
    CrowdEvictsContract,
    EvictsContract,
    RushContract,
    WatchesContract,
):
    """One server."""

    store_type = ZooKeeperStore
    turns = 4
    meet = False

    @pytest.fixture
    def url(self, zookeeper_url: str) -> str:
        return zookeeper_url


class TestZooKeeperEnsemble(StoreContract, LostAnswerContract):
    """Three servers: each client speaks to any of them, which may lag behind the leader.

    What differs is who is asked. The rest is proven on one server, in a third of the time.
    """

    store_type = ZooKeeperStore

    @pytest.fixture
    def url(self, zookeeper_ensemble_url: str) -> str:
        return zookeeper_ensemble_url


class TestZooKeeperFaults(FaultContract):
    """One server that is killed and started again: sessions and their locks outlive it.

    A holder that was frozen counts for itself how long the server keeps its session, so it knows.
    """

    @pytest.fixture
    def scene(self, zookeeper_url: str, zookeeper_server: ZooKeeperServer) -> Scene:
        return Scene(zookeeper_url, killed(zookeeper_server))


class TestZooKeeperEnsembleFaults(FaultContract):
    """Three servers whose leader is killed: the next one knows all sessions and their locks."""

    @pytest.fixture
    def scene(self, zookeeper_ensemble_url: str, zookeeper_ensemble: ZooKeeperEnsemble) -> Scene:
        return Scene(zookeeper_ensemble_url, zookeeper_ensemble.fail_over)
