"""Answers about a line that do not come back: what was done is done once, and nobody stands in the way of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy
from celery_locks.stores.base import Waiting
from celery_locks.ticket import Stance
from tests.stores.contract.asking import claim, take
from tests.stores.contract.waiting import LONG, ask, away, called, come, join, joined, look
from tests.stores.redis_stores import LINE, opened
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
    with opened(f"{way.url}?socket_timeout=0.5&claim_window={LONG}") as store:
        take(store, "wallet", "holder")
        yield store


@pytest.fixture
def other(redis_url: str) -> Iterator[RedisStore]:
    """A client whose way is never broken."""
    with opened(f"{redis_url}?claim_window={LONG}") as store:
        yield store


def _line(server: RedisServer) -> list[str]:
    return [str(name) for name in server.ask("ZRANGE", LINE, 0, -1)]


@pytest.mark.parametrize("stance", Stance)
def test_one_that_joins_twice_stands_in_line_once(
    store: RedisStore, way: Proxy, redis_server: RedisServer, stance: Stance
) -> None:
    """The connection broke before its answer, and it asked again by itself: its place is the first one's."""
    way.cut_answer(b"EVAL")
    busy = join(store, "wallet", "a", stance=stance)
    assert busy.place == 1
    assert _line(redis_server) == ["a"]
    later = join(store, "wallet", "b", stance=stance)
    assert (busy.ticket or "") < (later.ticket or "")


def test_one_that_heard_nothing_is_out_of_line(store: RedisStore, way: Proxy, redis_server: RedisServer) -> None:
    """It took the store for down and went: it is not called, and nobody waits for it."""
    dated = away(store, "wallet", "b")
    for name, ticket in (("a", None), ("b", dated)):
        way.lose_answer(b"EVAL")
        with pytest.raises(StoreUnavailable):
            ask(store, "wallet", name, ticket)
    wait_until(lambda: _line(redis_server) == [], "the farewells to arrive")


def test_one_that_was_called_and_heard_nothing_hands_on(store: RedisStore, way: Proxy, other: RedisStore) -> None:
    """The lease that it may have got, and the key that was kept for it, go to the next in line."""
    a, b = joined(other, "wallet", "a", "b")
    assert other.release(claim("wallet", "holder"))
    way.lose_answer(b"EVAL")
    with pytest.raises(StoreUnavailable):
        ask(store, "wallet", "a", a)
    wait_until(lambda: called(other, "wallet", b), "the next to be called")


def test_one_that_was_called_gets_its_lease_once(store: RedisStore, way: Proxy, other: RedisStore) -> None:
    """The connection broke before its answer: the same lease by asking again, and one release hands on."""
    a, b = joined(other, "wallet", "a", "b")
    assert other.release(claim("wallet", "holder"))
    way.cut_answer(b"EVAL")
    lease = come(store, "wallet", "a", a)
    way.cut_answer(b"EVAL")
    assert store.release(lease.claim)
    assert called(other, "wallet", b)
    assert store.release(lease.claim)
    come(other, "wallet", "b", b)


def test_to_attend_and_leave_is_repeated_when_cut_off(store: RedisStore, way: Proxy, redis_server: RedisServer) -> None:
    """Once is enough, and twice is the same."""
    ticket = away(store, "wallet", "a")
    way.cut_answer(b"EVAL")
    assert not look(store, "wallet", ticket).turn
    assert _line(redis_server) == ["a"]
    way.cut_answer(b"EVAL")
    store.leave([Waiting("wallet", ticket)])
    assert _line(redis_server) == []


def test_to_attend_and_leave_without_an_answer_is_an_outage(
    store: RedisStore, way: Proxy, redis_server: RedisServer
) -> None:
    """What was said may have been done all the same, and may be said again."""
    ticket = away(store, "wallet", "a")
    waiting = [Waiting("wallet", ticket)]
    for verb in (store.attend, store.leave):
        for _ in range(2):
            way.lose_answer(b"EVAL")
            with pytest.raises(StoreUnavailable):
                verb(waiting)
    assert _line(redis_server) == []


def test_an_attendance_that_arrives_late_costs_one_window(store: RedisStore, redis_server: RedisServer) -> None:
    """It is said of one that has gone: it is called once, does not come, and is forgotten."""
    a, b = joined(store, "wallet", "a", "b")
    store.leave([Waiting("wallet", a)])
    look(store, "wallet", a)
    assert store.release(claim("wallet", "holder"))
    assert isinstance(ask(store, "wallet", "b", b), Busy)
    redis_server.ask("DEL", "lock:{wallet}")
    come(store, "wallet", "b", b)
    assert _line(redis_server) == []
