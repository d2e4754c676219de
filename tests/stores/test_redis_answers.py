"""What becomes of a lock when a request is late or its answer is cut off or lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.redis_stores import QUICK, give_up, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.proxy import Proxy


@pytest.fixture
def way(proxy: Callable[[str], Proxy], redis_url: str) -> Proxy:
    """A proxy on the way to an empty Redis."""
    return proxy(redis_url)


@pytest.fixture
def store(way: Proxy) -> Iterator[RedisStore]:
    """A client whose requests go through the proxy and that has a connection already."""
    with opened(way.url + QUICK) as store:
        take(store, "first")
        yield store


@pytest.fixture
def other(redis_url: str) -> Iterator[RedisStore]:
    """A client whose way is never broken."""
    with opened(redis_url) as store:
        yield store


def test_an_acquire_whose_answer_is_cut_holds(store: RedisStore, way: Proxy, other: RedisStore) -> None:
    """The request went through and its answer did not come: sent again it is the same acquire, with the same fence."""
    way.cut_answer(b"EVAL")
    lease = take(store, "wallet")
    holding = other.inspect("wallet")
    assert holding is not None
    assert (holding.owner, holding.fence) == ("anna", lease.fence)
    assert store.release(lease.claim)
    take(other, "wallet", "ben")


def test_a_release_whose_answer_is_cut_has_released(store: RedisStore, way: Proxy, other: RedisStore) -> None:
    """The release is sent again and hears that it was done."""
    lease = take(store, "wallet")
    way.cut_answer(b"EVAL")
    assert store.release(lease.claim)
    take(other, "wallet", "ben")


def test_a_renewal_whose_answer_is_cut_has_renewed(store: RedisStore, way: Proxy) -> None:
    """Renewing twice is renewing."""
    lease = take(store, "wallet")
    way.cut_answer(b"EVAL")
    assert verdict(store, lease) is Verdict.RENEWED


def test_an_acquire_that_is_cut_twice_is_an_outage_and_leaves_no_lock(
    store: RedisStore, way: Proxy, other: RedisStore
) -> None:
    """Whoever never hears of its lock gives it back."""
    way.cut_answer(b"EVAL")
    way.cut_answer(b"EVAL")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet"))
    take(other, "wallet", "ben")


def test_an_acquire_that_ends_in_a_broken_network_ends_with_its_ttl(
    store: RedisStore, way: Proxy, other: RedisStore
) -> None:
    """When giving it back fails as well, the key is free after one ttl."""
    for _ in range(4):
        way.cut_answer(b"EVAL")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", ttl=0.3))
    wait_until(lambda: other.inspect("wallet") is None, "the end of the ttl", timeout=2)


def test_an_acquire_whose_answer_is_lost_is_an_outage_and_leaves_no_lock(
    store: RedisStore, way: Proxy, other: RedisStore
) -> None:
    """After its timeout the client gives back what it may have taken, and says that it does not know."""
    way.lose_answer(b"EVALSHA")
    with pytest.raises(StoreUnavailable, match="hangs, is overloaded or out of reach"):
        store.acquire(claim("wallet"))
    # The farewell was said and its answer not awaited.
    wait_until(lambda: other.inspect("wallet") is None, "what was taken to be given back", timeout=5)
    assert store.acquire(claim("wallet")) == Busy()
    take(other, "wallet", "ben")


def test_a_release_whose_answer_is_lost_may_be_repeated(store: RedisStore, way: Proxy, other: RedisStore) -> None:
    """Whoever hears of an outage and asks again hears that the key was given back, though others had it since."""
    lease = take(store, "wallet")
    way.lose_answer(b"EVALSHA")
    with pytest.raises(StoreUnavailable):
        store.release(lease.claim)
    for owner in ("ben", "cleo"):
        take(other, "wallet", owner)
        assert other.release(claim("wallet", owner))
    assert store.release(lease.claim)


def test_a_late_answer_is_heard_by_nobody(store: RedisStore, way: Proxy) -> None:
    """The answer that comes after its client gave up is not taken for the answer to the next request."""
    way.hold("answers")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "anna"))
    way.let_go("answers")
    for number in range(20):
        assert take(store, f"key {number}", f"owner {number}").owner == f"owner {number}"
        assert refused(store, f"key {number}", "cleo").holder == f"owner {number}"
        assert store.inspect("none") is None


def test_an_acquire_that_arrives_after_its_client_gave_up_leaves_no_lock(
    store: RedisStore, way: Proxy, other: RedisStore
) -> None:
    """A request that the network held and let go later takes no key for nobody: its farewell is right behind it."""
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "anna"))
    take(other, "wallet", "ben")
    assert other.release(claim("wallet", "ben"))
    assert b"EVALSHA" in way.waiting("requests")
    way.let_go("requests")
    _arrived(way)
    wait_until(lambda: other.inspect("wallet") is None, "what was taken to be given back", timeout=5)
    assert store.acquire(claim("wallet", "anna")) == Busy()
    take(other, "wallet", "cleo")


def test_an_acquire_that_arrives_after_the_mark_of_its_owner_is_refused(store: RedisStore, other: RedisStore) -> None:
    """The network does not keep the order of two connections: the mark may come first, and others in between."""
    give_up(other, "anna")
    take(other, "wallet", "ben")
    assert other.release(claim("wallet", "ben"))
    assert store.acquire(claim("wallet", "anna")) == Busy()
    assert other.inspect("wallet") is None


def test_a_late_renewal_renews_nothing_of_others(store: RedisStore, way: Proxy, other: RedisStore) -> None:
    """A beat that arrives after the key has changed hands changes nothing."""
    lease = take(store, "wallet", ttl=60)
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.renew([lease])
    assert other.release(lease.claim)
    take(other, "wallet", "ben", ttl=5)
    way.let_go("requests")
    _arrived(way)
    holding = other.inspect("wallet")
    assert holding is not None
    assert holding.owner == "ben"
    assert holding.remaining is not None
    assert holding.remaining <= 5


def test_a_late_release_frees_nothing_of_others(store: RedisStore, way: Proxy, other: RedisStore) -> None:
    """A release that arrives after its lease ran out and the key was retaken changes nothing."""
    lease = take(store, "wallet", ttl=0.3)
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.release(lease.claim)
    wait_until(lambda: other.inspect("wallet") is None, "the end of the lease")
    new = take(other, "wallet", "ben")
    way.let_go("requests")
    _arrived(way)
    assert verdict(other, new) is Verdict.RENEWED


def _arrived(way: Proxy) -> None:
    """Everything that was held has been passed on, and a request sent after it has been answered."""
    wait_until(lambda: not way.waiting("requests"), "the held requests to go on")
    with opened(way.url) as store:
        store.inspect("none")
        store.inspect("none")
