"""What happens when a request to ZooKeeper arrives and its answer does not, or when it arrives late."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease, Verdict
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.zookeeper_stores import QUICK, bare, is_free, lasting, locks, opened, owners, place_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.zookeeper import ZooKeeperStore
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place

#: What is in the request that takes `wallet`, and in no other: what is written into its node.
TAKING, GIVING_BACK = b'["wallet", "anna"]', b",owners/"


@pytest.fixture
def place(zookeeper_url: str) -> Place:
    return place_of(zookeeper_url)


def test_an_acquire_whose_answer_is_cut_off_is_known_again(
    store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore
) -> None:
    """The node that was made unheard is found after the reconnection: the same acquire gets its lease."""
    way.cut_answer(TAKING)
    lease = take(store, "wallet")
    assert other.inspect("wallet")[:3] == ("wallet", "anna", lease.fence)
    assert verdict(store, lease) is Verdict.RENEWED
    assert store.release(lease.claim)
    assert is_free(other, "wallet")


def test_a_release_whose_answer_is_cut_off_says_true(store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore) -> None:
    """Its node is gone when it asks again after the reconnection: it was this very release that removed it."""
    lease = take(store, "wallet")
    way.cut_answer(GIVING_BACK)
    assert store.release(lease.claim)
    take(other, "wallet", "ben")
    assert store.release(lease.claim)
    assert refused(other, "wallet", "cleo").holder == "ben"


def test_a_release_without_an_answer_is_repeated(store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore) -> None:
    """Unanswered for too long it is an outage; said again it is True, though the key is the next one's by then."""
    lease = take(store, "wallet")
    way.hold("answers")
    with pytest.raises(StoreUnavailable):
        store.release(lease.claim)
    take(other, "wallet", "ben")
    way.let_go()
    assert store.release(lease.claim)
    assert refused(other, "wallet", "cleo").holder == "ben"


def test_an_acquire_that_gave_up_leaves_nothing(store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore) -> None:
    """Held by the network until its owner gave up, and let go then, it takes no key for long, nor does its owner."""
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet"))
    way.let_go()
    assert isinstance(store.acquire(claim("wallet")), Busy)
    assert take(other, "wallet", "ben").held()
    assert store.release(claim("wallet"))
    assert refused(other, "wallet", "cleo").holder == "ben"


def test_an_acquire_unheard_is_undone(store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore) -> None:
    """It was done, but the answer came too late: the key is given back by itself."""
    way.hold("answers")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet"))
    wait_until(lambda: is_free(other, "wallet"), "the key to be given back")
    way.let_go()
    take(store, "wallet", "ben")


def test_a_late_request_on_an_old_connection_is_refused(
    proxy: Callable[[str], Proxy], zookeeper_url: str, other: ZooKeeperStore
) -> None:
    """A request that the network keeps while the session moves to another way is not done when it arrives at last."""
    ways = [proxy(zookeeper_url), proxy(zookeeper_url)]
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in ways)
    path = lasting(zookeeper_url, 6).partition("://")[2].partition("/")[2]
    with opened(f"zookeeper://{hosts}/{path}{QUICK}") as store:
        kept = take(store, "kept")
        used, unused = sorted(ways, key=lambda each: len(each.connections), reverse=True)
        assert not unused.connections
        used.hold()
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet"))
        assert TAKING in used.waiting("requests")
        wait_until(lambda: unused.connections and store._session._client.connected, "the other way", timeout=30)
        wait_until(lambda: not store._session.known._leaving, "the word that there is nothing to undo")
        used.let_go()
        wait_until(lambda: not used.waiting("requests"), "the late request to arrive")
        assert all(is_free(other, "wallet") for _ in range(50))
        assert isinstance(store.acquire(claim("wallet", "ben")), Lease)
        assert verdict(store, kept) is Verdict.RENEWED
        assert other.inspect("wallet").owner == "ben"


def test_a_forced_out_holder_whose_answer_was_lost_learns_it(
    store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore
) -> None:
    """Its node is gone at its first release: that is no release, also when others have taken the key since."""
    lease = take(store, "wallet")
    assert other.force_release("wallet")
    take(other, "wallet", "ben")
    assert not store.release(lease.claim)
    assert not store.release(lease.claim)
    assert refused(store, "wallet", "cleo").holder == "ben"
    assert way.connections


def test_a_free_key_is_never_refused_to_all(zookeeper_url: str) -> None:
    """Of clients that try at the same moment, again and again, exactly one gets a free key each time."""
    clients, rounds = 6, 40
    barrier = threading.Barrier(clients)
    won: list[tuple[int, int]] = []

    def contend(number: int) -> None:
        with opened(zookeeper_url) as store:
            for turn in range(rounds):
                barrier.wait(60)
                mine = claim("wallet", f"{number}.{turn}")
                answer = store.acquire(mine)
                if isinstance(answer, Lease):
                    won.append((turn, answer.fence))
                barrier.wait(60)
                if isinstance(answer, Lease):
                    assert store.release(mine)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert [turn for turn, _ in won] == list(range(rounds))
    assert [fence for _, fence in won] == sorted({fence for _, fence in won})


def test_owners_and_locks_come_and_go_together(store: ZooKeeperStore, zookeeper_url: str) -> None:
    """There are as many nodes of owners as of locks, whether they were taken, refused, released or forced."""
    with bare(zookeeper_url) as client:
        take(store, "wallet")
        refused(store, "wallet")
        take(store, "other")
        assert (locks(client, zookeeper_url), owners(client, zookeeper_url)) == (["first", "other", "wallet"], 3)
        assert store.force_release("other")
        assert store.release(claim("wallet"))
        assert (locks(client, zookeeper_url), owners(client, zookeeper_url)) == (["first"], 1)
        store.close()
        assert (locks(client, zookeeper_url), owners(client, zookeeper_url)) == ([], 0)
