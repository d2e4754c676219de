"""A soft time limit in the middle of a call to Redlock, a fork beside it, and connections that died or hang."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Lease, Verdict
from celery_locks.stores.redlock.node import Node
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.processes import Crew
from tests.stores.redlock_stores import QUICK, everywhere, opened, warmed
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from celery_locks.stores.redlock import RedlockStore
    from celery_locks.stores.redlock.ask import Ask
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


class _SoftTimeLimit(Exception):
    """What Celery raises in the middle of anything."""


@contextlib.contextmanager
def _struck_after(seconds: float) -> Iterator[None]:
    def strike(_signum: int, _frame: FrameType | None) -> None:
        raise _SoftTimeLimit

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_acquire_leaves_no_lock_and_no_answer(
    store: RedlockStore, ways: list[Proxy], nodes: list[RedisServer]
) -> None:
    """A soft time limit while answers are awaited: the key is given back, and the next request hears its own."""
    for way in ways:
        way.delay(0.2, "answers")
    with pytest.raises(_SoftTimeLimit), _struck_after(0.05):
        store.acquire(claim("wallet", "anna"))
    for way in ways:
        way.delay(0)
    everywhere(nodes, None)
    assert take(store, "wallet", "ben").owner == "ben"
    assert refused(store, "wallet", "cleo").holder == "ben"


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
            raise _SoftTimeLimit

    monkeypatch.setattr(Node, "put", struck)
    with pytest.raises(_SoftTimeLimit):
        store.renew([Lease(claim("wallet", "anna"), 1, None)])
    monkeypatch.undo()
    for number in range(10):
        assert take(store, f"key {number}", "ben").claim.owner == "ben"
        assert refused(store, f"key {number}", "cleo").holder == "ben"


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
