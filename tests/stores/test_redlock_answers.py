"""What becomes of a lock over three nodes when requests are late, answers cut off or lost, and calls interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.redlock_stores import QUICK, everywhere, opened, owners, release, warmed
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.redlock import RedlockStore
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer
    from tests.servers.redlock import RedlockNodes


@pytest.fixture
def nodes(redlock_nodes: RedlockNodes) -> list[RedisServer]:
    """Three empty nodes."""
    redlock_nodes.flush()
    return redlock_nodes.nodes[:3]


@pytest.fixture
def ways(proxy: Callable[[str], Proxy], nodes: list[RedisServer]) -> list[Proxy]:
    """A proxy on the way to each."""
    return [proxy(node.url) for node in nodes]


@pytest.fixture
def store(ways: list[Proxy], nodes: list[RedisServer]) -> Iterator[RedlockStore]:
    """A client whose requests go through the proxies, with connections and scripts already there."""
    with opened(ways, QUICK) as store:
        yield warmed(store, nodes)


@pytest.fixture
def other(nodes: list[RedisServer]) -> Iterator[RedlockStore]:
    """A client whose ways are never broken, and are all there."""
    with opened(nodes) as store:
        yield warmed(store, nodes)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_answers_that_are_cut_are_asked_for_again(
    store: RedlockStore, ways: list[Proxy], other: RedlockStore, cut: int
) -> None:
    """Each verb went through and its answers did not come: sent again it means the same, with the same fence."""
    for way in ways[:cut]:
        way.cut_answer(b"EVAL")
    lease = take(store, "wallet")
    holding = other.inspect("wallet")
    assert holding is not None
    assert (holding.owner, holding.fence) == ("anna", lease.fence)
    for way in ways[:cut]:
        way.cut_answer(b"EVAL")
    assert verdict(store, lease) is Verdict.RENEWED
    for way in ways[:cut]:
        way.cut_answer(b"EVAL")
    assert store.release(lease.claim)
    take(other, "wallet", "ben")


def test_answers_that_are_lost_are_an_outage_and_leave_no_lock(
    store: RedlockStore, ways: list[Proxy], nodes: list[RedisServer], other: RedlockStore
) -> None:
    """Two of three are silent: what was taken goes back, and its owner gets nothing more."""
    for way in ways[:2]:
        way.hold("answers")
    with pytest.raises(StoreUnavailable, match="hangs, is overloaded or out of reach"):
        store.acquire(claim("wallet"))
    everywhere(nodes, None)
    for way in ways[:2]:
        way.cut()
    assert other.acquire(claim("wallet")) == Busy()
    take(other, "wallet", "ben")


def test_one_lost_answer_is_not_missed(store: RedlockStore, ways: list[Proxy]) -> None:
    """The majority decides, whatever else was asked on that connection until it broke."""
    ways[0].hold("answers")
    lease = take(store, "wallet")
    for number in range(20):
        if number == 10:
            ways[0].cut()
            ways[0].let_go("answers")
        assert take(store, f"key {number}", f"owner {number}").owner == f"owner {number}"
        assert refused(store, f"key {number}", "cleo").holder == f"owner {number}"
    assert verdict(store, lease) is Verdict.RENEWED


def test_late_answers_are_heard_by_nobody(store: RedlockStore, ways: list[Proxy]) -> None:
    """Answers that come after their client gave up are not taken for those to the next request."""
    for way in ways:
        way.hold("answers")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "anna"))
    for way in ways:
        way.let_go("answers")
    for number in range(20):
        assert take(store, f"key {number}", f"owner {number}").owner == f"owner {number}"
        assert refused(store, f"key {number}", "cleo").holder == f"owner {number}"
        assert store.inspect("none") is None


def test_an_acquire_that_arrives_after_its_client_gave_up_leaves_no_lock(
    store: RedlockStore, ways: list[Proxy], nodes: list[RedisServer], other: RedlockStore
) -> None:
    """Requests that the network held and let go later take no key for nobody: their farewell is right behind them."""
    for way in ways:
        way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "anna"))
    _take_and_release(other, "ben")
    _let_go(ways)
    everywhere(nodes, None)
    assert other.acquire(claim("wallet", "anna")) == Busy()
    take(other, "wallet", "cleo")


def test_an_acquire_that_arrives_after_its_release_is_refused(
    store: RedlockStore, ways: list[Proxy], nodes: list[RedisServer], other: RedlockStore
) -> None:
    """A node that hears the release on another connection first gives the key to nobody."""
    ways[0].hold("requests")
    lease = take(store, "wallet")
    assert other.release(lease.claim)
    _let_go(ways)
    assert owners(nodes) == [None] * 3


def test_a_late_undoing_takes_nothing_from_the_next_attempt(
    store: RedlockStore, ways: list[Proxy], nodes: list[RedisServer], other: RedlockStore
) -> None:
    """An owner that was refused asked again by another connection: the first attempt, heard late, changes nothing."""
    _split(nodes, "ben")
    ways[0].hold("requests")
    refused(store, "wallet", "anna")
    for node in nodes:
        node.ask("DEL", "lock:{wallet}")
    lease = take(other, "wallet", "anna")
    everywhere(nodes, "anna")
    _let_go(ways)
    assert owners(nodes) == ["anna"] * 3
    assert verdict(other, lease) is Verdict.RENEWED


def test_a_late_renewal_renews_nothing_of_others(store: RedlockStore, ways: list[Proxy], other: RedlockStore) -> None:
    """A beat that arrives after the key has changed hands changes nothing."""
    lease = take(store, "wallet", ttl=60)
    for way in ways:
        way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.renew([lease])
    assert other.release(lease.claim)
    take(other, "wallet", "ben", ttl=5)
    _let_go(ways)
    holding = other.inspect("wallet")
    assert holding is not None
    assert holding.owner == "ben"
    assert holding.remaining is not None
    assert holding.remaining <= 5


def test_a_late_release_frees_nothing_of_others(store: RedlockStore, ways: list[Proxy], other: RedlockStore) -> None:
    """A release that arrives after its lease ran out and the key was retaken changes nothing."""
    lease = take(store, "wallet", ttl=0.3)
    for way in ways:
        way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.release(lease.claim)
    wait_until(lambda: other.inspect("wallet") is None, "the end of the lease")
    new = take(other, "wallet", "ben")
    _let_go(ways)
    assert verdict(other, new) is Verdict.RENEWED


def test_a_release_whose_answers_are_lost_may_be_repeated(
    store: RedlockStore, ways: list[Proxy], other: RedlockStore
) -> None:
    """Whoever hears of an outage and asks again hears that the key was given back, though others had it since."""
    lease = take(store, "wallet")
    for way in ways:
        way.hold("answers")
    with pytest.raises(StoreUnavailable):
        store.release(lease.claim)
    for way in ways:
        way.cut()
        way.let_go("answers")
    _take_and_release(other, "ben")
    _take_and_release(other, "cleo")
    assert store.release(lease.claim)


def test_the_time_it_took_comes_off_the_lease(store: RedlockStore, ways: list[Proxy], other: RedlockStore) -> None:
    """Nodes that answer later than the lease lasts give none, and what they gave goes back."""
    for way in ways:
        way.delay(0.1, "answers")
    lease = take(store, "slow", ttl=30)
    assert lease.remaining is not None
    assert lease.remaining < 29.9
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "anna", ttl=0.05))
    for way in ways:
        way.delay(0)
    wait_until(lambda: other.acquire(claim("wallet", "anna")) == Busy(), "the farewell to arrive")
    take(other, "wallet", "ben")


def test_an_answer_that_comes_when_the_lease_is_over_is_none(store: RedlockStore, other: RedlockStore) -> None:
    """Paused between the answers and our looking at the clock: no lease is given that is already over."""
    readings = iter([0.0, 30.0])
    store.clock = lambda: next(readings)
    with pytest.raises(StoreUnavailable, match=r"longer to answer than the lease lasts \(30 s\)"):
        store.acquire(claim("wallet", "anna"))
    wait_until(lambda: other.acquire(claim("wallet", "anna")) == Busy(), "the farewell to arrive")
    take(other, "wallet", "ben")


def _split(nodes: list[RedisServer], *others: str) -> None:
    """Leave a lock of another owner on each of the last nodes, so that nobody gets them all."""
    for node, owner in zip(nodes[1:], [*others, "cleo"], strict=True):
        node.ask("SET", "lock:{wallet}", f"1:{owner}\0001", "PX", 30_000)


def _take_and_release(store: RedlockStore, owner: str) -> None:
    take(store, "wallet", owner)
    assert release(store, owner)


def _let_go(ways: list[Proxy]) -> None:
    """Let go what was held, and wait until it is passed on and something sent after it has been answered."""
    for way in ways:
        way.let_go("requests")
    wait_until(lambda: not any(way.waiting("requests") for way in ways), "the held requests to go on")
    for way in ways:
        with redis.Redis(port=way.port, socket_timeout=10) as client:
            client.ping()
            client.ping()
