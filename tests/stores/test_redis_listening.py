"""A listener hears every wake from its beginning to its end, and says when it hears no more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.redis import listening
from tests.stores.contract.asking import claim, take
from tests.stores.contract.waiting import hearing, joined
from tests.stores.places import fresh
from tests.stores.redis_stores import QUICK, opened, within_reason
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.redis import RedisStore
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place


@pytest.fixture
def place(redis_url: str) -> Place:
    return fresh(redis_url, opened, QUICK)


def _call(store: RedisStore) -> str:
    """Have somebody called."""
    take(store, "wallet", "holder")
    (ticket,) = joined(store, "wallet", "a")
    assert store.release(claim("wallet", "holder"))
    return ticket


def _hears(store: RedisStore, server: RedisServer) -> bool:
    with hearing(store) as wake, opened(server.url) as other:
        return _call(other) == wake().ticket


def test_a_listener_that_is_cut_off_says_so(store: RedisStore, way: Proxy, redis_server: RedisServer) -> None:
    """What is said from then on is not heard: that is an outage, and the next listener hears again."""
    with contextlib.closing(store.listen()) as listener:
        way.cut()
        with pytest.raises(StoreUnavailable), within_reason():
            wait_until(lambda: listener.heard(0.1), "the loss to be heard")
    assert _hears(store, redis_server)


def test_a_listener_of_a_killed_server_says_so(store: RedisStore, redis_server: RedisServer) -> None:
    """So that those who wait come by themselves."""
    with contextlib.closing(store.listen()) as listener:
        redis_server.kill()
        with pytest.raises(StoreUnavailable), within_reason():
            wait_until(lambda: listener.heard(0.1), "the loss to be heard")
        with pytest.raises(StoreUnavailable), within_reason():
            store.listen()


def test_a_way_that_is_silently_dead_is_noticed(store: RedisStore, way: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall forgets an idle connection and tells nobody: no sign of life is an outage."""
    monkeypatch.setattr(listening, "_SILENCE", 0.3)
    with contextlib.closing(store.listen()) as listener:
        way.hang()
        with pytest.raises(StoreUnavailable, match="no sign of life"), within_reason():
            wait_until(lambda: listener.heard(0.1), "the silence to be noticed")


def test_a_server_that_says_nothing_is_alive(
    store: RedisStore, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody is called for long, its sign of life is no wake, and the listener hears the next one."""
    monkeypatch.setattr(listening, "_SILENCE", 0.5)
    with contextlib.closing(store.listen()) as listener, opened(redis_server.url) as other:
        assert [wake for _ in range(30) for wake in listener.heard(0.1)] == []
        ticket = _call(other)
        heard = wait_until(lambda: listener.heard(0.1), "the wake")
        assert [wake.ticket for wake in heard] == [ticket]


def test_a_server_that_hangs_has_no_listener(store: RedisStore, way: Proxy) -> None:
    """Nobody is told that he hears before the server has said so."""
    way.hang()
    with pytest.raises(StoreUnavailable), within_reason():
        store.listen()
    way.let_go()


def test_a_listener_gives_its_connection_back(store: RedisStore, redis_server: RedisServer) -> None:
    """Whoever has listened again and again has no connection in the end."""
    with redis_server.client() as client:

        def listeners() -> int:
            return int(client.pubsub_numsub("lock:wake")[0][1])

        # One that was given up a moment ago, behind a proxy, may be there still.
        before, connections = listeners(), len(client.client_list())
        # They are kept: what is collected as garbage closes its connection anyway.
        ended = [store.listen() for _ in range(20)]
        for each in ended:
            each.close()
        wait_until(lambda: listeners() <= before, "the last to be gone")
        assert len(client.client_list()) < connections + 5


def test_each_hears_all_of_its_own_prefix(redis_url: str) -> None:
    """Two processes hear the same wakes; a store with another prefix has its own."""
    with (
        opened(redis_url) as one,
        opened(redis_url) as two,
        opened(redis_url, prefix="other:") as other,
        hearing(one) as first,
        hearing(two) as second,
        contextlib.closing(other.listen()) as third,
    ):
        ticket = _call(one)
        assert first().ticket == second().ticket == ticket
        assert third.heard(0.05) == []


def test_wakes_are_heard_whatever_requests_are_written_in(redis_url: str, redis_server: RedisServer) -> None:
    """RESP3 brings notices of maintenance along, which the connection that listens does not have."""
    with opened(f"{redis_url}?protocol=3") as store:
        assert _hears(store, redis_server)
