"""Several members: whoever of them is killed or hangs, the others answer, and no lease is lost by it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease, Verdict
from celery_locks.stores.etcd.mending import NotNow
from tests.servers.process import HOST, free_port
from tests.stores.contract.asking import claim, patient, refused, take, verdict
from tests.stores.etcd_stores import QUICK, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.etcd import EtcdStore
    from tests.servers.etcd import EtcdCluster, EtcdServer


@pytest.fixture
def store(etcd_cluster: EtcdCluster) -> Iterator[EtcdStore]:
    etcd_cluster.flush()
    with opened(etcd_cluster.url + QUICK) as store:
        yield store


def _asked(store: EtcdStore, cluster: EtcdCluster) -> EtcdServer:
    """The member that the store asks now."""
    return next(node for node in cluster.nodes if node.port == store._wire.member().port)


def _ask(store: EtcdStore, server: EtcdServer) -> None:
    """Make the store ask that member first."""
    store._wire._turn = [member.port for member in store._wire.members].index(server.port)


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_the_loss_of_the_member_that_is_asked_loses_nothing(
    store: EtcdStore, etcd_cluster: EtcdCluster, fault: str
) -> None:
    """Killed or hanging, it is passed over within the verb: the lease is renewed, refused to others, and given back."""
    lease = take(store, "wallet", ttl=10)
    lost = _asked(store, etcd_cluster)
    getattr(lost, fault)()
    assert verdict(store, lease) is Verdict.RENEWED
    assert _asked(store, etcd_cluster) is not lost
    assert refused(store, "wallet").holder == "anna"
    assert store.release(lease.claim)
    take(store, "wallet", "ben")


@pytest.mark.parametrize("fault", ["kill", "pause"])
@pytest.mark.parametrize("leader_is_asked", [True, False])
def test_the_loss_of_the_leader_loses_nothing(
    store: EtcdStore, etcd_cluster: EtcdCluster, fault: str, *, leader_is_asked: bool
) -> None:
    """A beat, a release and an acquire that run into an election have their answer within the verb."""
    leader = etcd_cluster.leader
    _ask(store, next(node for node in etcd_cluster.nodes if (node is leader) is leader_is_asked))
    leases = [take(store, name, ttl=10) for name in ("wallet", "purse")]
    getattr(leader, fault)()
    assert store.renew(leases) == [Verdict.RENEWED] * 2
    assert store.release(leases[0].claim)
    assert take(store, "wallet", "ben").fence > leases[0].fence


def test_fences_grow_across_the_death_of_the_leader_and_of_all(store: EtcdStore, etcd_cluster: EtcdCluster) -> None:
    """A revision is never given twice, whoever leads, and also when all members were killed at once."""
    fences = [take(store, "wallet", "anna 0", ttl=2).fence]
    etcd_cluster.leader.kill()
    fences.append(patient(store, "wallet", "anna 1", timeout=20).fence)
    assert store.release(claim("wallet", "anna 1"))
    etcd_cluster.heal()
    for node in etcd_cluster.nodes:
        node.kill()
    etcd_cluster.heal()
    fences.append(patient(store, "wallet", "anna 2").fence)
    assert fences == sorted(set(fences))


def test_a_lease_outlives_the_restart_of_all_members(store: EtcdStore, etcd_cluster: EtcdCluster) -> None:
    """Killed together and started again, they still know who holds the key, and the holder goes on."""
    lease = take(store, "wallet", ttl=20)
    for node in etcd_cluster.nodes:
        node.kill()
    etcd_cluster.heal()
    assert refused(store, "wallet").holder == "anna"
    assert verdict(store, lease) is Verdict.RENEWED


def test_a_dead_holders_key_is_free_although_the_leader_died_too(store: EtcdStore, etcd_cluster: EtcdCluster) -> None:
    """A new leader gives each lease its full ttl once more, and then ends it."""
    lease = take(store, "wallet", ttl=1)
    etcd_cluster.leader.kill()
    wait_until(lambda: not lease.held(), "the end of the lease")
    assert patient(store, "wallet", "ben", timeout=20).fence > lease.fence


def test_without_most_of_its_members_a_cluster_cannot_say(etcd_cluster: EtcdCluster) -> None:
    """One of three alone answers no verb: that is an outage, within the verb's time, and no contention."""
    for node in etcd_cluster.nodes[1:]:
        node.kill()
    with opened(f"{etcd_cluster.url}/?timeout=1&try_timeout=0.3") as store:
        for verb in (lambda: store.acquire(claim("wallet")), lambda: store.inspect("wallet")):
            before = time.monotonic()
            with pytest.raises(StoreUnavailable):
                verb()
            assert time.monotonic() - before > 0.5
        with pytest.raises(StoreUnavailable):
            store.renew([Lease(claim("wallet"), 1, None)])


def test_members_that_are_not_there_are_passed_over(etcd_url: str) -> None:
    """One that answers is enough, wherever in the URL it stands."""
    gone = f"{HOST}:{free_port()},{HOST}:{free_port()}"
    for hosts in (etcd_url.replace("//", f"//{gone},"), f"{etcd_url},{gone}"):
        with opened(hosts) as store:
            assert isinstance(store.acquire(claim("wallet", hosts)), (Lease, Busy))


def test_a_member_that_says_not_now_is_asked_again(etcd_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An election under way is no outage: the same question is put until somebody knows."""
    with opened(etcd_url) as store:
        post, refusals = store._wire.members[0].post, iter([NotNow(14, "etcdserver: no leader")] * 3)

        def electing(*arguments: object) -> object:
            if error := next(refusals, None):
                raise error
            return post(*arguments)

        monkeypatch.setattr(store._wire.members[0], "post", electing)
        take(store, "wallet")
        assert next(refusals, None) is None
