"""A lock lives in its session: the session's end is its end, a suspended one is unknown."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from celery_locks.errors import StoreUnavailable
from celery_locks.keeper import Keeper
from celery_locks.lease import Lease, State, Verdict
from tests.servers.missing import require
from tests.servers.programs import JAVA, ZOOKEEPER
from tests.servers.zookeeper import ZooKeeperEnsemble
from tests.stores.contract.asking import patient, refused, take, verdict
from tests.stores.zookeeper_stores import QUICK, end_session, is_kept, lasting, opened, place_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.zookeeper import ZooKeeperStore
    from tests.servers.proxy import Proxy
    from tests.servers.zookeeper import ZooKeeperServer
    from tests.stores.places import Place


@pytest.fixture
def place(zookeeper_url: str) -> Place:
    return place_of(zookeeper_url)


@pytest.fixture
def brief(way: Proxy) -> Iterator[ZooKeeperStore]:
    """The same, with a session whose end can be waited for."""
    with opened(way.url + QUICK) as store:
        take(store, "first")
        yield store


def cannot_say(store: ZooKeeperStore, lease: Lease) -> bool:
    with contextlib.suppress(StoreUnavailable):
        verdict(store, lease)
        return False
    return True


def test_session_loss_is_lease_loss(store: ZooKeeperStore, other: ZooKeeperStore, zookeeper_url: str) -> None:
    """When the server has ended the session its locks are free at once, and the holder knows before it asks."""
    lease = take(store, "wallet")
    end_session(store, zookeeper_url)
    after = take(other, "wallet", "ben")
    wait_until(lambda: not lease.held(), "the holder to hear of it")
    assert verdict(store, lease) is Verdict.LOST
    assert not store.release(lease.claim)
    assert after.fence > lease.fence
    assert refused(store, "wallet", "cleo").holder == "ben"


def test_a_new_session_takes_anew(store: ZooKeeperStore, zookeeper_url: str) -> None:
    """After the loss of a session the same store takes keys in the next one, the same owner with a higher fence."""
    first = take(store, "wallet")
    end_session(store, zookeeper_url)
    second = take(store, "wallet")
    assert second.fence > first.fence
    assert verdict(store, first) is Verdict.LOST
    assert is_kept(store, second)


def test_a_broken_connection_loses_nothing(store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore) -> None:
    """A connection that breaks and comes back within the session's time leaves every lock where it was."""
    lease = take(store, "wallet")
    for _ in range(5):
        way.cut()
        assert lease.held()
        assert store.acquire(lease.claim).fence == lease.fence
        refused(other, "wallet")
    assert verdict(store, lease) is Verdict.RENEWED


def test_suspended_is_unknown(store: ZooKeeperStore, way: Proxy) -> None:
    """Without a connection a beat says that it cannot know, and the lease is held while its session must last."""
    lease = take(store, "wallet")
    way.refuse()
    wait_until(lambda: cannot_say(store, lease), "the broken connection to be noticed")
    assert lease.held()
    assert cannot_say(store, lease)
    way.accept()
    wait_until(lambda: not cannot_say(store, lease), "the connection to be back")
    assert is_kept(store, lease)


@pytest.mark.parametrize("fault", ["refuse", "hang"])
def test_a_holder_that_is_cut_off_stops_before_another_may_hold(
    brief: ZooKeeperStore, way: Proxy, other: ZooKeeperStore, fault: str
) -> None:
    """It counts from the last request that was answered: when the next one holds it has known for a while."""
    lease = take(brief, "wallet")
    getattr(way, fault)()
    following = patient(other, "wallet", "ben")
    assert not lease.held()
    assert verdict(brief, lease) is Verdict.LOST
    assert following.fence > lease.fence


def test_the_keeper_reports_the_loss_of_a_holder_that_is_cut_off(
    brief: ZooKeeperStore, way: Proxy, other: ZooKeeperStore
) -> None:
    """A lease that was unknown is lost once the server may have ended its session, and its job is told once."""
    lease = take(brief, "wallet")
    told: list[Lease] = []
    keeper = Keeper(brief)
    keeper.watch(lease, 0.2, told.append)
    way.refuse()
    wait_until(lambda: lease.state is State.UNKNOWN, "a beat that had no answer")
    wait_until(lambda: told, "the word of its loss")
    assert lease.state is State.LOST
    patient(other, "wallet", "ben")
    assert told == [lease]


def test_the_server_may_grant_a_shorter_session(zookeeper_url: str) -> None:
    """What counts is the time the server has granted, not the time that was asked for."""
    with opened(zookeeper_url.replace("session_timeout=3", "session_timeout=80000")) as store:
        lease = take(store, "wallet")
        client = store._session._client
        assert client.until - time.monotonic() < 60
        assert client._connection.proof.granted == 60
        assert lease.held()


def test_a_lock_outlives_the_death_of_the_leader(
    zookeeper_ensemble: ZooKeeperEnsemble, zookeeper_ensemble_url: str
) -> None:
    """The next leader knows the session: the lease is held throughout, and the next fence is higher."""
    with opened(lasting(zookeeper_ensemble_url)) as store, opened(lasting(zookeeper_ensemble_url)) as other:
        lease = take(store, "wallet")
        zookeeper_ensemble.fail_over()
        assert lease.held()
        refused(other, "wallet", "ben")
        wait_until(lambda: not cannot_say(store, lease), "the connection to be back")
        assert is_kept(store, lease)
        assert store.release(lease.claim)
        assert take(other, "wallet", "ben").fence > lease.fence


def test_a_job_is_told_when_its_session_ends(
    store: ZooKeeperStore, zookeeper_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock that beats marks its lease as lost, and the log says that its session is over."""
    lock = Locks(store).lock("wallet", ttl=0.6, heartbeat=True)
    assert lock.acquire()
    lease = lock.lease
    end_session(store, zookeeper_url)
    wait_until(lambda: lease.state is State.LOST, "the loss to be known")
    assert not lock.owned()
    wait_until(lambda: "the session it lived in is over" in caplog.text, "the log line")


@pytest.fixture
def trusting_ensemble() -> Iterator[ZooKeeperEnsemble]:
    """Three servers of which a follower believes for 40 seconds that the leader is only slow."""
    require(ZOOKEEPER, JAVA)
    ensemble = ZooKeeperEnsemble(cuttable=True, syncLimit="200")
    try:
        ensemble.start()
        yield ensemble
    finally:
        ensemble.close()


def test_a_holder_at_a_server_that_is_cut_off_stops_in_time(trusting_ensemble: ZooKeeperEnsemble) -> None:
    """Its server still answers its pings while the leader ends its session: it asks for the leader's own word."""
    follower = next(node for node in trusting_ensemble.nodes if node.mode() == "follower")
    ask = "?session_timeout=3"
    with opened(follower.url + ask) as store, opened(trusting_ensemble.leader.url + ask) as other:
        lease = take(store, "wallet")
        trusting_ensemble.cut_off(follower)
        following = patient(other, "wallet", "ben")
        assert not lease.held()
        assert follower.mode() == "follower"
        assert following.fence > lease.fence


def test_a_server_that_hangs_is_left_in_time(
    zookeeper_ensemble: ZooKeeperEnsemble, zookeeper_ensemble_url: str
) -> None:
    """The session goes on at another server before its holder has to stop believing in it."""
    with contextlib.ExitStack() as stack:
        stores = (stack.enter_context(opened(lasting(zookeeper_ensemble_url, 12) + QUICK)) for _ in range(50))
        store, lease, follower = next(each for each in map(_at_a_follower(zookeeper_ensemble), stores) if each)
        follower.pause()
        wait_until(lambda: _port(store) not in (None, follower.port), "another server", timeout=30)
        assert lease.held()
        assert is_kept(store, lease)


def _at_a_follower(
    ensemble: ZooKeeperEnsemble,
) -> Callable[[ZooKeeperStore], tuple[ZooKeeperStore, Lease, ZooKeeperServer] | None]:
    def found(store: ZooKeeperStore) -> tuple[ZooKeeperStore, Lease, ZooKeeperServer] | None:
        lease = take(store, f"wallet {id(store)}")
        node = next(node for node in ensemble.nodes if node.port == _port(store))
        return (store, lease, node) if node.mode() == "follower" else None

    return found


def _port(store: ZooKeeperStore) -> int | None:
    """Of the server it speaks to; None while there is none."""
    client = store._session._client
    assert client is not None
    with contextlib.suppress(OSError):
        return int(client._connection._socket.getpeername()[1]) if client.live.is_set() else None
    return None
