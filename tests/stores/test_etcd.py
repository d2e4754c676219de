"""The etcd store keeps the contract, and keeps it while holders die or sleep, servers end, and the leader is killed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url
from celery_locks.stores.etcd import EtcdStore
from tests.stores.contract import (
    ExpiringContract,
    FaultContract,
    InspectContract,
    LostAnswerContract,
    ProcessContract,
    StoreContract,
    StoreFixtures,
    WatchesContract,
    killed,
)
from tests.stores.etcd_stores import QUICK, run_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Lease
    from tests.servers.etcd import EtcdCluster, EtcdServer
    from tests.stores.contract import Opens


class TestEtcd(StoreContract, ExpiringContract, InspectContract, LostAnswerContract, ProcessContract, WatchesContract):
    """One server."""

    store_type = EtcdStore

    @pytest.fixture
    def open_store(self, etcd_url: str, etcd_server: EtcdServer) -> Opens:
        self.server = etcd_server
        return functools.partial(from_any_url, etcd_url)

    def wait_out(self, lease: Lease) -> None:
        """It counts whole seconds, one at least, and looks every half second for what is over."""
        run_out(self.server, lease)


class TestEtcdFaults(FaultContract, StoreFixtures):
    """One server, killed and started again: it has written down whatever it answered."""

    @pytest.fixture
    def open_store(self, etcd_url: str) -> Opens:
        return functools.partial(from_any_url, etcd_url + QUICK)

    @pytest.fixture
    def upset(self, etcd_server: EtcdServer) -> Callable[[], object]:
        return killed(etcd_server)


class TestEtcdClusterFaults(FaultContract, StoreFixtures):
    """Three members, whose leader is killed: the two others elect another and know all that was answered."""

    @pytest.fixture
    def open_store(self, etcd_cluster: EtcdCluster) -> Opens:
        etcd_cluster.flush()
        return functools.partial(from_any_url, etcd_cluster.url + QUICK)

    @pytest.fixture
    def upset(self, etcd_cluster: EtcdCluster) -> Callable[[], object]:
        def killed() -> None:
            etcd_cluster.leader.kill()
            assert etcd_cluster.leader

        return killed
