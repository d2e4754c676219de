"""The etcd store keeps the contract, and keeps it while holders die or sleep, servers end, and the leader is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.stores.etcd import EtcdStore
from tests.stores.contract import (
    CrowdEvictsContract,
    CrowdsContract,
    EvictsContract,
    ExpiringContract,
    FaultContract,
    Scene,
    ServerContracts,
    WatchesContract,
    killed,
)
from tests.stores.etcd_stores import QUICK, run_out

if TYPE_CHECKING:
    from celery_locks.lease import Lease
    from tests.servers.etcd import EtcdCluster, EtcdServer


class TestEtcd(ServerContracts, CrowdsContract, CrowdEvictsContract, EvictsContract, ExpiringContract, WatchesContract):
    """One server."""

    store_type = EtcdStore

    @pytest.fixture
    def url(self, etcd_url: str, etcd_server: EtcdServer) -> str:
        self.server = etcd_server
        return etcd_url

    def wait_out(self, lease: Lease) -> None:
        """It counts whole seconds, one at least, and looks every half second for what is over."""
        run_out(self.server, lease)


class TestEtcdFaults(FaultContract):
    """One server, killed and started again: it has written down whatever it answered."""

    @pytest.fixture
    def scene(self, etcd_url: str, etcd_server: EtcdServer) -> Scene:
        return Scene(etcd_url + QUICK, killed(etcd_server))


class TestEtcdClusterFaults(FaultContract):
    """Three members, whose leader is killed: the two others elect another and know all that was answered."""

    @pytest.fixture
    def scene(self, etcd_cluster: EtcdCluster) -> Scene:
        etcd_cluster.flush()

        def leader_killed() -> None:
            etcd_cluster.leader.kill()
            assert etcd_cluster.leader

        return Scene(etcd_cluster.url + QUICK, leader_killed)
