"""The etcd store keeps the contract, and keeps it while holders die or sleep, servers end, and the leader is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.stores.etcd import EtcdStore
from tests.stores.contract import (
    CrowdEvictsContract,
    CrowdsContract,
    CrowdsExpiringContract,
    EvictsContract,
    ExpiringContract,
    FaultContract,
    GivingUpContract,
    HandingContract,
    NotesContract,
    PositionsContract,
    RushContract,
    Scene,
    ServerContracts,
    WatchesContract,
    claim,
    killed,
)
from tests.stores.etcd_stores import QUICK, opened, run_out
from tests.stores.places import straight

if TYPE_CHECKING:
    from celery_locks.lease import Lease
    from tests.servers.etcd import EtcdCluster, EtcdServer
    from tests.stores.contract import GivesUp
    from tests.stores.places import Place


class TestEtcd(
    ServerContracts,
    CrowdsContract,
    CrowdsExpiringContract,
    CrowdEvictsContract,
    EvictsContract,
    ExpiringContract,
    HandingContract,
    NotesContract,
    PositionsContract,
    RushContract,
    WatchesContract,
):
    """One server. Each of its requests waits for the disk, and it renews a hundred leases in one."""

    store_type = EtcdStore
    many = 300
    increments = 10
    turns = 4
    meet = False
    #: A lease that another process granted is not made shorter by who renews it.
    test_all_who_died_free_all_places = None

    @pytest.fixture
    def url(self, etcd_url: str, etcd_server: EtcdServer) -> str:
        self.server = etcd_server
        return etcd_url

    def wait_out(self, lease: Lease) -> None:
        """It counts whole seconds, one at least, and looks every half second for what is over."""
        run_out(self.server, lease)


class TestEtcdGivingUp(GivingUpContract):
    """Whoever was not answered says so, as far as it can be heard."""

    games = 4

    @pytest.fixture
    def place(self, etcd_url: str) -> Place:
        return straight(etcd_url, opened)

    @pytest.fixture
    def give_up(self) -> GivesUp:
        def give_up(store: EtcdStore, owner: str, key: str) -> None:
            store._give_up(5.0, store._names(claim(key, owner)))

        return give_up


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
