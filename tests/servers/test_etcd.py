"""Private etcd servers start, answer, keep their data, and are whole again after a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.etcd import Refused
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.servers.etcd import EtcdCluster, EtcdServer

PUT = {"key": "a2V5", "value": "dmFsdWU="}


def test_it_keeps_its_data_over_a_kill(etcd_server: EtcdServer) -> None:
    """What was answered is there again after a kill, and gone after a flush."""
    etcd_server.flush()
    etcd_server.ask("kv/put", PUT)
    etcd_server.ask("lease/grant", {"ID": 7, "TTL": 60})
    etcd_server.kill()
    assert etcd_server.heal()
    assert etcd_server.kept() == {"key": "value"}
    assert etcd_server.leases() == {7}
    etcd_server.flush()
    assert not etcd_server.kept()
    assert not etcd_server.leases()


def test_it_speaks_tls(etcd_tls_server: EtcdServer) -> None:
    """Whoever trusts its certificate is answered."""
    etcd_tls_server.ask("kv/put", PUT)
    assert etcd_tls_server.kept()["key"] == "value"


def test_an_error_is_told(etcd_server: EtcdServer) -> None:
    """What etcd refuses is an error with etcd's words."""
    with pytest.raises(Refused, match="requested lease not found"):
        etcd_server.ask("lease/revoke", {"ID": 404})


def test_another_member_leads_when_the_leader_is_gone(etcd_cluster: EtcdCluster) -> None:
    """Two of three elect a leader and take writes; healed, the third has them too."""
    old = etcd_cluster.leader
    old.kill()
    assert etcd_cluster.leader is not old
    etcd_cluster.leader.ask("kv/put", PUT)
    assert etcd_cluster.heal()
    wait_until(lambda: old.kept().get("key") == "value", "the old leader to catch up")
    etcd_cluster.flush()


def test_a_cluster_heals_from_nothing(etcd_cluster: EtcdCluster) -> None:
    """All members killed, or paused, are a cluster again after heal."""
    for node in etcd_cluster.nodes:
        node.kill()
    assert etcd_cluster.heal()
    etcd_cluster.nodes[0].pause()
    assert etcd_cluster.heal()
    assert not etcd_cluster.heal()
