"""A node that restarts empty: what it lets happen, and how a delay prevents that."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.fencing.bearer import FenceWarning
from celery_locks.fencing.redis import Fenced
from celery_locks.lease import Lease, Verdict
from celery_locks.stores import open_store
from tests.servers.process import HOST
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.redlock_stores import FENCE, everywhere, opened, owners, warmed
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redlock import RedlockStore
    from tests.servers.redlock import RedlockNodes

DELAY = 3
DELAYED = f"?restart_delay={DELAY}&socket_timeout=1"


@pytest.fixture
def nodes(redlock_nodes: RedlockNodes) -> list[RedisServer]:
    """Five empty nodes that have been up for longer than the delay."""
    redlock_nodes.flush()
    wait_until(lambda: redlock_nodes.age() > DELAY, "the nodes to be old enough", DELAY + 10)
    return redlock_nodes.nodes


def _held_by_three(nodes: list[RedisServer], query: str) -> Lease:
    """A lease on the first three of five nodes, of which the third has then lost its memory."""
    for node in nodes[3:]:
        node.pause()
    with opened(nodes, query) as store:
        lease = take(store, "wallet", "anna", ttl=60)
        everywhere(nodes[:3], "anna")
    for node in nodes[3:]:
        node.resume()
    nodes[2].kill()
    nodes[2].start()
    return lease


def test_without_a_delay_a_second_holder_comes_in(nodes: list[RedisServer]) -> None:
    """One of three granting nodes restarts empty: with the two others it makes a majority, and both hold."""
    first = _held_by_three(nodes, "")
    with opened(nodes) as store:
        second = take(warmed(store, nodes), "wallet", "ben")
        assert first.held()
        assert second.held()
        assert second.fence > first.fence


def test_with_a_delay_nobody_comes_in(nodes: list[RedisServer]) -> None:
    """The node that restarted does not count until the delay is over; by then the first holder knows of its loss."""
    first = _held_by_three(nodes, DELAYED)
    with opened(nodes, DELAYED) as store:
        with pytest.raises(StoreUnavailable, match="up for less than restart_delay and may have forgotten"):
            store.acquire(claim("wallet", "ben"))
        everywhere(nodes[2:], None)
        assert first.held()
        assert owners(nodes[:2]) == ["anna"] * 2
        # A beat finds it on two of five nodes, and the majority of them counts for other keys all the time.
        assert verdict(store, first) is Verdict.LOST
        take(store, "other key", "ben")


def test_a_node_is_not_taken_for_older_than_it_is(nodes: list[RedisServer]) -> None:
    """Both its clock and its start are cut to whole seconds: right after a second's turn it says 1 and may mean 0.1."""
    for node in nodes[3:]:
        node.kill()
    nodes[2].kill()
    wait_until(lambda: 0.7 < time.time() % 1 < 0.8, "the end of a second")
    before, second = time.monotonic(), int(time.time())
    nodes[2].start()
    wait_until(lambda: int(time.time()) > second, "the next second")
    with opened(nodes, "?restart_delay=1") as store:
        _got(store)
    assert time.monotonic() - before >= 1


def test_the_delay_ends(nodes: list[RedisServer]) -> None:
    """All nodes were started anew: no key can be had until they are old enough, and then it can, unasked."""
    for node in nodes:
        node.restart()
    with opened(nodes, DELAYED) as store:
        with pytest.raises(StoreUnavailable, match="restart_delay"):
            store.acquire(claim("wallet", "anna"))

        _got(store)


def _got(store: RedlockStore) -> None:
    """Wait until a key can be had."""
    # One that was told of an outage has given up.
    owners = (f"owner {number}" for number in itertools.count())

    def got() -> bool:
        try:
            return isinstance(store.acquire(claim("wallet", next(owners))), Lease)
        except StoreUnavailable:
            return False

    wait_until(got, "the nodes to be old enough", DELAY + 10, interval=0.1)


def test_a_lease_tells_that_a_restart_may_bring_fences_down(nodes: list[RedisServer]) -> None:
    """As soon as one server of them keeps nothing on disk: a guard has the reason from it."""
    with opened(nodes) as store:
        lease = take(warmed(store, nodes), "wallet", "anna")
    assert re.search(r"5 of 5 servers, 127\.0\.0\.1:\d+ first, keep no append-only file", lease.caveat)
    with nodes[0].client() as client, pytest.warns(FenceWarning, match="keep no append-only file"):
        Fenced(client).set("balance", 90, lease=lease)


def test_fences_grow_across_a_restart_of_all(redis_keeping: list[RedisServer]) -> None:
    """Of servers that keep them: killed and started again, they count on from what is far ahead of their clocks."""
    with opened(redis_keeping) as store:
        lease = take(warmed(store, redis_keeping), "wallet", "anna")
        assert store.release(lease.claim)
    far = lease.fence + 10**12
    for node in redis_keeping:
        node.ask("CONFIG", "SET", "appendfsync", "always")
        node.ask("SET", FENCE, f"{far}:")
        node.kill()
        node.start()
    with opened(redis_keeping) as store:
        assert take(warmed(store, redis_keeping), "wallet", "ben").fence == far + 1


def test_servers_that_keep_all_they_were_told_are_not_spoken_against(redis_keeping: list[RedisServer]) -> None:
    """An append-only file on each: two majorities have a server in common that remembers."""
    with opened(redis_keeping) as store:
        assert take(warmed(store, redis_keeping), "wallet", "anna").caveat == ""


def test_a_user_who_may_not_ask_gets_locks_and_the_caveat(redis_keeping: list[RedisServer]) -> None:
    """INFO is not needed for locks. What a server does not tell is not known."""
    for node in redis_keeping:
        node.ask("ACL", "SETUSER", "anna", "reset", "on", ">pw", "~*", "+@all", "-info")
    places = ",".join(f"{HOST}:{node.port}" for node in redis_keeping)
    store = open_store(f"redlock://anna:pw@{places}")
    try:
        assert "3 of 3 servers" in take(warmed(store, redis_keeping), "wallet", "ben").caveat
    finally:
        store.close()


@pytest.fixture
def redis_keeping() -> Iterator[list[RedisServer]]:
    """Three servers with an append-only file each."""
    with contextlib.ExitStack() as all_of_them:
        servers = [all_of_them.enter_context(RedisServer(appendonly="yes")) for _ in range(3)]
        yield servers
