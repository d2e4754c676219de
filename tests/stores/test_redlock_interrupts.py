"""A soft time limit in the middle of a call to Redlock, a fork beside it, and connections that died or hang."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Lease, Verdict
from celery_locks.stores.redlock.node import Node
from tests.stores.contract.asking import claim, hears_its_own, take, verdict
from tests.stores.processes import Crew
from tests.stores.redlock_stores import QUICK, Nodes, opened, warmed
from tests.stores.time_limits import SoftTimeLimit
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.redlock import RedlockStore
    from celery_locks.stores.redlock.ask import Ask
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place


@pytest.fixture
def place(three_nodes: list[RedisServer]) -> Place:
    return Nodes(three_nodes)


def test_a_connection_that_owes_for_too_long_is_given_up(nodes: list[RedisServer]) -> None:
    """It may be dead without either end knowing it: past the timeout the node is asked on a new one."""
    with opened(nodes, QUICK) as direct:
        warmed(direct, nodes)
        before = _connections(nodes[0])
        nodes[0].pause()
        first = take(direct, "wallet")
        end = time.monotonic() + 0.6
        wait_until(lambda: time.monotonic() > end, "the timeout to pass")
        assert verdict(direct, first) is Verdict.RENEWED
        nodes[0].resume()
        assert verdict(direct, first) is Verdict.RENEWED
        wait_until(lambda: len(before - _connections(nodes[0])) == 1, "one connection to be gone")


def test_an_interrupt_in_the_middle_of_sending_is_no_mix_up(
    store: RedlockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Struck when some nodes had been told and others not, a connection is never used again."""
    take(store, "wallet", "anna")
    put, told = Node.put, []

    def struck(self: Node, ask: Ask, now: float) -> None:
        told.append(self)
        put(self, ask, now)
        if len(told) == 2:
            raise SoftTimeLimit

    monkeypatch.setattr(Node, "put", struck)
    with pytest.raises(SoftTimeLimit):
        store.renew([Lease(claim("wallet", "anna"), 1, None)])
    monkeypatch.undo()
    hears_its_own(store, rounds=10)


def test_a_child_ends_nothing_of_its_parent(store: RedlockStore, nodes: list[RedisServer]) -> None:
    """A forked child asks on connections of its own, and closing those leaves the parent's as they were."""
    before = [_connections(node) for node in nodes]

    def meddle() -> None:
        lease = take(store, "child")
        assert all(_connections(node) > known for node, known in zip(nodes, before, strict=True))
        assert store.release(lease.claim)
        store.close()

    with Crew() as crew:
        crew.start(meddle)
        crew.done()
    take(store, "wallet")
    assert [_connections(node) & known for node, known in zip(nodes, before, strict=True)] == before


def _connections(node: RedisServer) -> set[str]:
    """The clients that a node has, but for ours that asks."""
    with node.client() as client:
        return {each["id"] for each in client.client_list() if "client" not in each["cmd"]}
