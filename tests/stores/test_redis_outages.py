"""A Redis that hangs, refuses or is not there: an outage in bounded time."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from tests.stores.contract.asking import claim, take, verbs
from tests.stores.redis_stores import QUICK, opened, place_of, within_reason
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.redis import RedisStore
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place


@pytest.fixture
def place(redis_url: str) -> Place:
    return place_of(redis_url)


def test_a_hung_server_costs_each_verb_one_timeout(store: RedisStore, way: Proxy) -> None:
    """Each verb on a frozen server is an outage after one try."""
    lease = take(store, "wallet")
    way.hang()
    for verb in verbs(store, lease):
        tries = len(way.connections)
        with pytest.raises(StoreUnavailable, match="socket_timeout"), within_reason():
            verb()
        assert len(way.connections) <= tries + 1
    way.let_go()
    wait_until(lambda: store.release(lease.claim), "the release of what was held")


def test_a_hung_server_costs_an_acquire_two_seconds(way: Proxy) -> None:
    """With the timeouts that are the default, and one try on a new connection."""
    way.hang()
    with opened(way.url) as store, within_reason():
        before = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet"))
        assert time.monotonic() - before > 1.9
    assert len(way.connections) == 1


def test_a_resumed_server_has_no_lock_of_those_that_gave_up(
    redis_server: RedisServer, redis_url: str, other: RedisStore
) -> None:
    """Requests that lay in a frozen server's buffers take no key when it goes on."""
    take(other, "warm")
    with opened(redis_url + QUICK) as store:
        take(store, "first")
        redis_server.pause()
        for number in range(3):
            with pytest.raises(StoreUnavailable):
                store.acquire(claim(f"key {number}"))
        redis_server.resume()
        wait_until(redis_server.answers, "the server to go on")
    wait_until(lambda: not list(other.list("key*")), "what was taken to be given back", timeout=20)


def test_a_refused_connection_is_an_outage_at_once(way: Proxy) -> None:
    """Nobody listens: one line that says so, without a wait for the timeouts."""
    way.refuse()
    with opened(f"{way.url}?socket_timeout=60&socket_connect_timeout=60") as store:
        with pytest.raises(StoreUnavailable, match="check that the server runs"), within_reason():
            store.acquire(claim("wallet"))
        way.accept()
        take(store, "wallet")


def test_a_port_that_never_answers_is_an_outage_in_time() -> None:
    """A host that swallows every packet: bounded by the time allowed to connect."""
    with socket.socket() as listener, contextlib.ExitStack() as clients:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            # The backlog is full: the kernel drops what comes now.
            client = clients.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(listener.getsockname())
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0{QUICK}"
        with opened(url) as store, pytest.raises(StoreUnavailable, match="out of reach"), within_reason():
            store.acquire(claim("wallet"))
