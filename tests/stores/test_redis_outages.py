"""A Redis that hangs, refuses or is not there: an outage in bounded time."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from celery_locks.errors import StoreUnavailable
from tests.stores.contract.asking import claim, take
from tests.stores.redis_stores import QUICK, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer


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


def test_a_hung_server_costs_a_bounded_time(store: RedisStore, redis_server: RedisServer) -> None:
    """Each verb on a frozen server is an outage after its timeouts: one for the request, one for giving it back."""
    lease = take(store, "wallet")
    redis_server.pause()
    for verb, longest in (
        (lambda: store.acquire(claim("other")), 2),
        (lambda: store.renew([lease]), 1),
        (lambda: store.release(lease.claim), 1),
        (lambda: store.inspect("wallet"), 1),
        (lambda: list(store.list()), 1),
    ):
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match="socket_timeout"):
            verb()
        # Half a second for each timeout, and some for a busy machine.
        assert time.monotonic() - before < longest * 0.5 + 1
    redis_server.resume()
    wait_until(lambda: store.release(lease.claim), "the release of what was held")


def test_a_hung_server_costs_an_acquire_less_than_five_seconds(redis_server: RedisServer, redis_url: str) -> None:
    """With the timeouts that are the default, on a new connection."""
    redis_server.pause()
    with opened(redis_url) as store:
        before = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet"))
        assert 1.9 < time.monotonic() - before < 3.5


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
    wait_until(lambda: not list(other.list("key*")), "what was taken to be given back", timeout=5)


def test_a_refused_connection_is_an_outage_at_once(way: Proxy) -> None:
    """Nobody listens: one line that says so, without a wait."""
    way.refuse()
    with opened(way.url) as store:
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match="check that the server runs"):
            store.acquire(claim("wallet"))
        assert time.monotonic() - before < 1
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
        with opened(url) as store:
            before = time.monotonic()
            with pytest.raises(StoreUnavailable, match="out of reach"):
                store.acquire(claim("wallet"))
            assert time.monotonic() - before < 2


def test_an_outage_on_the_way_in_is_not_a_no(way: Proxy) -> None:
    """The face for plain code says that the store is down: neither taken nor free."""
    locks = Locks(way.url + QUICK)
    way.refuse()
    with pytest.raises(StoreUnavailable):
        locks.lock("wallet").acquire(blocking=False)
    way.accept()
    assert locks.lock("wallet").acquire(blocking=False)
    locks.close()
