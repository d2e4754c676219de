"""What many nodes together say, when they do not all say the same."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease, Verdict
from tests.stores.contract.asking import claim, refused, run_out, take, verdict
from tests.stores.redlock_stores import (
    PatientNodes,
    everywhere,
    fences,
    opened,
    owners,
    plant,
    release,
    works,
)
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.redlock import RedlockStore
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place


@pytest.fixture
def place(five_nodes: list[RedisServer]) -> Place:
    return PatientNodes(five_nodes)


def test_a_split_vote_is_undone_and_tried_again(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """Nobody has a majority: whoever tries again, once one of the others is gone, gets it."""
    for node, owner in zip(nodes[:3], ("ben", "cleo", "dora"), strict=True):
        plant(node, owner)
    gone = threading.Timer(0.05, lambda: nodes[0].ask("DEL", "lock:{wallet}"))
    gone.start()
    lease = take(store, "wallet", "anna")
    gone.join()
    assert lease.held()
    assert owners(nodes[1:3]) == ["cleo", "dora"]


def test_a_split_vote_that_stays_is_busy(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """Where others keep a majority between them, the one with the most is named, and we keep nothing."""
    for node, owner in zip(nodes[:3], ("ben", "ben", "dora"), strict=True):
        plant(node, owner)
    answer = refused(store, "wallet", "anna")
    assert answer.holder == "ben"
    everywhere(nodes[3:], None)
    assert owners(nodes[:3]) == ["ben", "ben", "dora"]


def test_a_minority_is_no_holder(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """A lock that is left on two of five nodes keeps nobody out, is shown to nobody, and cannot be released."""
    for node in nodes[:2]:
        plant(node, "ben")
    assert store.inspect("wallet") is None
    assert list(store.list()) == []
    take(store, "wallet", "anna")
    assert not release(store, "ben")
    assert refused(store, "wallet", "cleo").holder == "anna"


def test_a_beat_gives_a_lease_back_to_a_node_that_lost_it(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """Nodes restarted empty one after the other, with beats in between, cost no lease; the fence is back as well."""
    lease = take(store, "wallet")

    def beat() -> bool:
        assert verdict(store, lease) is Verdict.RENEWED
        return owners(nodes) == ["anna"] * 5

    for node in nodes:
        node.kill()
        node.start()
        wait_until(beat, "the node to have the lease again")
    assert fences(nodes) == [lease.fence] * 5
    assert store.release(lease.claim)
    assert take(store, "wallet", "ben").fence > lease.fence


def test_a_beat_gives_nothing_back_that_is_over(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """A lease that ran out, and one whose majority is gone, is lost on all nodes, and no beat writes it anywhere."""
    lease = take(store, "wallet", ttl=0.2)
    run_out(lease)
    assert verdict(store, lease) is Verdict.LOST
    lease = take(store, "wallet", "ben")
    everywhere(nodes, "ben")
    for node in nodes[:3]:
        node.flush()
    assert verdict(store, lease) is Verdict.LOST
    assert owners(nodes) == [None, None, None, "ben", "ben"]


def test_a_release_is_judged_by_the_majority(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """True where a minority had lost the lock, again and again; False where the majority had."""
    for owner, lost in (("anna", 2), ("ben", 3)):
        take(store, "wallet", owner)
        everywhere(nodes, owner)
        for node in nodes[:lost]:
            node.flush()
        assert [release(store, owner) for _ in range(3)] == [lost < 3] * 3
        everywhere(nodes, None)


def test_a_holder_that_lost_the_majority_learns_it(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """Three of five nodes forget; the next holder gets those, and both cannot be renewed."""
    first = take(store, "wallet", "anna")
    everywhere(nodes, "anna")
    for node in nodes[:3]:
        node.flush()
    second = take(store, "wallet", "ben")
    assert verdict(store, first) is Verdict.LOST
    assert verdict(store, second) is Verdict.RENEWED


def test_nodes_keep_a_lease_longer_than_its_holder_believes(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """Clocks may run apart by a hundredth: what the lease lasts, and what others are told, leaves that out."""
    lease = take(store, "wallet", ttl=100)
    everywhere(nodes, "anna")
    assert all(100_500 < node.ask("PTTL", "lock:{wallet}") <= 101_002 for node in nodes)
    assert lease.remaining is not None
    assert lease.remaining < 100
    assert (refused(store, "wallet").remaining or 0) <= 100
    lease.ttl = 200
    assert verdict(store, lease) is Verdict.RENEWED
    wait_until(
        lambda: all(node.ask("PTTL", "lock:{wallet}") > 201_000 for node in nodes), "all nodes to keep it longer"
    )


def test_a_full_node_is_outvoted(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """Two nodes that refuse writes count as no answer; three are an outage, and the error says why."""
    for node in nodes[:2]:
        node.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        assert works(store, "anna")
        nodes[2].ask("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreUnavailable, match="raise maxmemory"):
            store.acquire(claim("wallet", "ben"))
    finally:
        for node in nodes[:3]:
            node.ask("CONFIG", "SET", "maxmemory", 0)


def test_a_lease_is_kept_when_its_nodes_are_full(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """Without memory on all nodes what is held can be renewed and given back, and the fences still grow."""
    lease = take(store, "wallet")
    everywhere(nodes, "anna")
    for node in nodes:
        node.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        assert verdict(store, lease) is Verdict.RENEWED
        assert release(store, "anna")
        assert release(store, "anna")
    finally:
        for node in nodes:
            node.ask("CONFIG", "SET", "maxmemory", 0)
    assert store.acquire(claim("wallet", "anna")) == Busy()
    assert take(store, "wallet", "ben").fence > lease.fence


def test_fences_that_nodes_disagree_about_are_settled(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """One node has counted further: its fence is the lease's, and a majority has written it down before we know."""
    ahead = 2**51
    nodes[4].ask("SET", "lock:{wallet}:fence", f"{ahead}:", "PX", 100_000)
    for node in nodes[:2]:
        # The two others, and the one that is ahead, make the majority.
        node.kill()
    lease = take(store, "wallet")
    assert lease.fence == ahead + 1
    assert fences(nodes[2:]) == [ahead + 1] * 3
    again = store.acquire(lease.claim)
    assert isinstance(again, Lease)
    assert again.fence == lease.fence
    assert release(store, "anna")
    for node in nodes[:2]:
        node.start()
    nodes[4].kill()
    assert take(store, "wallet", "ben").fence > lease.fence


def test_fences_do_not_need_clocks(
    store: RedlockStore, nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client whose clock is years behind gets a higher fence than the holder before it."""
    first = take(store, "wallet", "anna")
    assert release(store, "anna")
    with opened(nodes) as late:
        monkeypatch.setattr(time, "time_ns", lambda: 10**15)
        assert take(late, "wallet", "ben").fence > first.fence
