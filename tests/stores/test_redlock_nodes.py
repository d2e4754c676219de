"""What nodes that are down, hang, or were restarted do to locks of the others."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Verdict
from celery_locks.stores import redlock
from celery_locks.stores.redlock import ring
from tests.stores.contract.asking import refused, take, verbs, verdict
from tests.stores.redlock_stores import PATIENT, QUICK, Nodes, everywhere, opened, owners, plant, release, warmed, works
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.redlock import RedlockStore
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place


@pytest.fixture
def place(five_nodes: list[RedisServer]) -> Place:
    return Nodes(five_nodes)


@pytest.fixture
def store(nodes: list[RedisServer]) -> Iterator[RedlockStore]:
    with opened(nodes, PATIENT) as store:
        yield store


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_two_of_five_may_be_gone(store: RedlockStore, nodes: list[RedisServer], fault: str, *, connected: bool) -> None:
    """Nodes that are down or hang are not waited for, whether they were there before or not."""
    if connected:
        assert works(store, "anna")
    for node in nodes[:2]:
        getattr(node, fault)()
    assert works(store, "ben")


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_without_a_majority_nothing_is_decided(nodes: list[RedisServer], fault: str) -> None:
    """With three of five gone every verb is an outage that names nodes and the remedy, and what was given goes back."""
    with opened(nodes, QUICK) as store:
        lease = take(store, "mine")
        for node in nodes[:3]:
            getattr(node, fault)()
        for ask in (*verbs(store, lease), lambda: store.force_release(lease.key)):
            with pytest.raises(
                StoreUnavailable, match=rf"no 3 of the 5 nodes .* say nothing: 127.0.0.1:{nodes[0].port} d"
            ):
                ask()
        everywhere(nodes[3:], None)


def test_the_store_works_again_as_soon_as_a_majority_does(nodes: list[RedisServer]) -> None:
    """After an outage the first call that could succeed does: nobody waits for a node's next turn to be looked at."""
    with opened(nodes, QUICK) as store:
        for node in nodes[:3]:
            node.kill()

        def left_alone() -> bool:
            with pytest.raises(StoreUnavailable):
                store.inspect("wallet")
            return store._rings._idle[0].nodes[0]._rest > 3

        wait_until(left_alone, "a node that is down to be left alone for seconds", 30)
        nodes[0].start()
        assert works(store, "anna")
        # And where others seem to be there until they are asked.
        nodes[3].kill()
        nodes[1].start()
        assert works(store, "ben")


def test_a_node_that_comes_back_is_asked_again(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """One that was down takes part again in some later call, without a call that waits for it."""
    nodes[0].kill()
    assert works(store, "anna")
    nodes[0].start()

    def has_it() -> bool:
        name = next(names)
        lease = take(store, name, "ben")
        assert verdict(store, lease) is Verdict.RENEWED
        return owners(nodes[:1], f"lock:{{{name}}}") == ["ben"]

    names = (f"key {number}" for number in itertools.count())
    wait_until(has_it, "the node to take part again", interval=0.05)


def test_connections_that_died_unused_cost_nothing(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """All nodes were restarted since the last call: the next one connects anew and succeeds."""
    assert works(store, "anna")
    for node in nodes:
        node.restart()
    assert works(store, "ben")


def test_a_node_that_hung_undoes_what_it_did_late(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """A release that it hears late is right behind the acquire that it hears late: it is left with nothing."""
    warmed(store, nodes)
    nodes[0].pause()
    lease = take(store, "wallet")
    assert store.release(lease.claim)
    nodes[0].resume()
    everywhere(nodes, None)
    take(store, "wallet", "ben")
    everywhere(nodes, "ben")


def test_what_a_hung_node_grants_a_refused_owner_is_undone(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """The key was taken on the others: what the hung node gave later is taken back."""
    with opened(nodes) as other:
        warmed(store, nodes)
        warmed(other, nodes)
        nodes[0].pause()
        take(store, "wallet", "anna")
        refused(other, "wallet", "ben")
        assert release(store, "anna")
        nodes[0].resume()
        everywhere(nodes, None)


def test_a_release_reaches_a_node_whose_connection_was_given_up(nodes: list[RedisServer]) -> None:
    """It hung for longer than the timeout, with the lock on it; the lock is given back when it can be reached again."""
    with opened(nodes, QUICK) as store:
        lease = take(warmed(store, nodes), "wallet", ttl=600)
        everywhere(nodes, "anna")
        nodes[0].pause()
        take(store, "other")
        end = time.monotonic() + 0.6
        wait_until(lambda: time.monotonic() > end, "the timeout to pass")
        assert store.release(lease.claim)
        nodes[0].resume()
        wait_until(lambda: store.inspect("none") or owners(nodes) == [None] * 5, "the node to be told", interval=0.05)


def test_nodes_that_hang_are_waited_for_once(
    store: RedlockStore, nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without two hung nodes nobody can have a majority: the eleven tries of a call do not wait for them each anew."""
    warmed(store, nodes)
    for node in nodes[:2]:
        plant(node, "ben")
    for node in nodes[3:]:
        node.pause()
    monkeypatch.setattr(ring, "GRACE", 2)
    before = time.monotonic()
    assert refused(store, "wallet", "cleo").holder == "ben"
    # One wait and the pauses are 4 seconds at most, eleven are 22 and more.
    assert time.monotonic() - before < 15


def test_nodes_that_are_slow_are_waited_for(
    nodes: list[RedisServer], proxy: Callable[[str], Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They still owe an answer to the call before, and decide this one at its first try."""
    ways = [proxy(node.url) for node in nodes]
    with opened(ways, PATIENT) as store:
        warmed(store, nodes)
        for node in nodes[:2]:
            plant(node, "ben")
        for way in ways[3:]:
            way.delay(0.1, "answers")
        monkeypatch.setattr(ring, "GRACE", 5)
        monkeypatch.setattr(redlock, "PAUSES", ())
        take(store, "other")
        assert any(node._owed for node in store._rings._idle[0].nodes[3:])
        take(store, "wallet", "cleo")
