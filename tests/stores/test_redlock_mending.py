"""What beats do for leases that some nodes lack, and what they say where too few answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Verdict
from celery_locks.stores.redlock.ring import Ring
from tests.stores.contract.asking import take, verdict
from tests.stores.redlock_stores import Nodes, Ways, everywhere, opened, owners, warmed
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.lease import Lease
    from celery_locks.stores.redlock import RedlockStore
    from celery_locks.stores.redlock.ask import Ask
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place


@pytest.fixture
def place(five_nodes: list[RedisServer]) -> Place:
    return Nodes(five_nodes)


@pytest.fixture
def lingered(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long calls have waited for nodes that they did not need."""
    found: list[float] = []
    linger = Ring.linger

    def noted(self: Ring, asks: Sequence[Ask], seconds: float, took: float = 0.0) -> None:
        found.append(seconds)
        linger(self, asks, seconds, took)

    monkeypatch.setattr(Ring, "linger", noted)
    return found


def _mended(store: RedlockStore, nodes: list[RedisServer], lease: Lease) -> None:
    def beat() -> bool:
        assert verdict(store, lease) is Verdict.RENEWED
        return owners(nodes) == [lease.owner] * 5

    wait_until(beat, "all nodes to have the lease")


def test_slow_nodes_are_mended(store: RedlockStore, ways: Ways, nodes: list[RedisServer], lease: Lease) -> None:
    """All are restarted empty, one after the other, and two of them answer when the others have long decided."""
    for way in ways[3:]:
        way.delay(0.05, "answers")
    for node in reversed(nodes):
        node.kill()
        node.start()
        _mended(store, nodes, lease)
    assert lease.held()


def test_a_slow_node_that_forgot_its_scripts_is_mended(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer], lease: Lease
) -> None:
    """It says so when nobody waits any more: the next beat brings them along."""
    ways[4].delay(0.05, "answers")
    nodes[4].flush()
    nodes[4].ask("SCRIPT", "FLUSH")
    _mended(store, nodes, lease)
    assert lease.held()


def test_a_late_answer_gives_nothing_back_that_is_over(
    store: RedlockStore, ways: Ways, nodes: list[RedisServer], lease: Lease
) -> None:
    """The lease ended between the beat and the answer of a node that lacks it: it stays as it is there."""
    nodes[4].flush()
    ways[4].hold("answers")
    assert verdict(store, lease) is Verdict.RENEWED
    lease.lose("its work is done")
    ways[4].let_go("answers")
    late = store._rings._idle[0].nodes[4]
    wait_until(lambda: store.inspect("none") or not late._owed, "the late answer to be heard")
    assert owners(nodes) == ["anna"] * 4 + [None]


def test_one_lease_in_doubt_is_not_lost(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """Two of five nodes lack it and one hangs: nobody knows, whatever is known of the others in the same beat."""
    doubtful, clear = take(store, "wallet"), take(store, "other")
    everywhere(nodes, "anna")
    everywhere(nodes, "anna", "lock:{other}")
    for node in nodes[3:]:
        node.ask("DEL", "lock:{wallet}")
    nodes[0].pause()
    assert store.renew([doubtful, clear]) == [Verdict.UNKNOWN, Verdict.RENEWED]
    with pytest.raises(StoreUnavailable):
        store.renew([doubtful])
    nodes[0].resume()
    wait_until(lambda: store.renew([doubtful, clear]) == [Verdict.RENEWED] * 2, "the node to answer in time")


def test_an_outage_is_said_when_the_timeout_is_over(
    store: RedlockStore, nodes: list[RedisServer], lease: Lease, lingered: list[float]
) -> None:
    """A beat that has waited for a majority in vain waits no longer for those that lack a lease."""
    lingered.clear()
    for node in nodes[:3]:
        node.pause()
    with pytest.raises(StoreUnavailable):
        store.renew([lease])
    assert lingered == []


def test_a_beat_is_over_when_the_timeout_is(ways: Ways, nodes: list[RedisServer], lingered: list[float]) -> None:
    """A majority that took much of it leaves no more than the rest to the others."""
    with opened(ways, "?socket_timeout=3") as store:
        lease = take(warmed(store, nodes), "wallet")
        lingered.clear()
        for way in ways:
            way.delay(1.2, "answers")
        assert verdict(store, lease) is Verdict.RENEWED
        [seconds] = lingered
        assert seconds <= 3 - 1.2
