"""What becomes of a lock over three nodes when requests are late, answers cut off or lost, and calls interrupted."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import pytest
import redis

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from tests.stores.contract import InterruptContract, LateAnswerContract
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.redlock_stores import Nodes, everywhere, owners
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.redlock import RedlockStore
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place
    from tests.stores.redlock_stores import Ways


@pytest.fixture
def place(three_nodes: list[RedisServer]) -> Place:
    return Nodes(three_nodes)


class TestRedlockAnswers(LateAnswerContract, InterruptContract):
    """Three nodes, all troubled alike."""

    acquiring = releasing = b"EVAL"

    @pytest.fixture
    def given_back(self, nodes: list[RedisServer]) -> Callable[[], None]:
        return functools.partial(everywhere, nodes, None)

    @pytest.fixture
    def delivered(self, ways: Ways) -> Callable[[], None]:
        return functools.partial(_let_go, ways)

    @contextlib.contextmanager
    def unanswered(self, way: Ways, request: bytes) -> Iterator[None]:
        """No node's answers come until the client has given up."""
        del request
        way.hold("answers")
        yield
        way.cut()
        way.let_go("answers")


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_answers_that_are_cut_are_asked_for_again(
    store: RedlockStore, ways: Ways, other: RedlockStore, cut: int
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
    store: RedlockStore, ways: Ways, nodes: list[RedisServer], other: RedlockStore
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


def test_one_lost_answer_is_not_missed(store: RedlockStore, ways: Ways) -> None:
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


def test_an_acquire_that_arrives_after_its_release_is_refused(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer], other: RedlockStore
) -> None:
    """A node that hears the release on another connection first gives the key to nobody."""
    ways[0].hold("requests")
    lease = take(store, "wallet")
    assert other.release(lease.claim)
    _let_go(ways)
    assert owners(nodes) == [None] * 3


def test_a_late_undoing_takes_nothing_from_the_next_attempt(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer], other: RedlockStore
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


def test_the_time_it_took_comes_off_the_lease(store: RedlockStore, ways: Ways, other: RedlockStore) -> None:
    """Nodes that answer later than the lease lasts give none, and what they gave goes back."""
    ways.delay(0.1, "answers")
    lease = take(store, "slow", ttl=30)
    assert lease.remaining is not None
    assert lease.remaining < 29.9
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "anna", ttl=0.05))
    ways.delay(0)
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


def _let_go(ways: Ways) -> None:
    """Let go what was held, and wait until it is passed on and something sent after it has been answered."""
    ways.let_go("requests")
    wait_until(lambda: not ways.waiting("requests"), "the held requests to go on")
    for way in ways:
        with redis.Redis(port=way.port, socket_timeout=10) as client:
            client.ping()
            client.ping()
