"""What is shown of a line in Redis, beside what the contract asks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.instrumentation.measures import census
from celery_locks.lease import Busy, Claim
from celery_locks.ticket import Stance, Ticket
from tests.stores.contract.asking import take
from tests.stores.contract.waiting import away, join
from tests.stores.redis_stores import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis import RedisServer

KEY = "wallet:42"
LINE = f"lock:{{{KEY}}}:line"
#: The scores of those who are away begin here.
AWAY = 4e15


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(redis_url) as store:
        yield store


def test_who_waits_in_a_slot_is_told_from_a_message_that_waits(store: RedisStore) -> None:
    """The one costs a worker's slot, the other none."""
    take(store, KEY, "holder")
    answer = store.acquire(Claim(KEY, "owner a", 30.0, ticket=Ticket("a", Stance.WAITS, "0a1b2c3d")))
    assert isinstance(answer, Busy)
    join(store, KEY, "b")
    assert [(each.ticket, each.stands) for each in store.line(KEY)] == [("a", "slot"), ("b", "queue")]


def test_who_left_an_hour_ago_waits_no_more(store: RedisStore, redis_server: RedisServer) -> None:
    """It is neither shown nor counted, though nobody has taken it out of line yet."""
    take(store, KEY, "holder")
    away(store, KEY, "gone")
    away(store, KEY, "on its way")
    with redis_server.client() as client:
        client.zadd(LINE, {"gone": AWAY + (time.time() - 3601) * 1e6})
    assert [each.ticket for each in store.line(KEY)] == ["on its way"]
    assert store.waiting([KEY]) == [1]


def test_what_is_no_line_is_an_empty_one(store: RedisStore, redis_server: RedisServer) -> None:
    """Something else may have been written under its name: that hides no other key."""
    other = "wallet:43"
    take(store, other, "holder")
    join(store, other, "a")
    with redis_server.client() as client:
        client.set(LINE, "no line")
    assert store.line(KEY) == []
    assert store.waiting([KEY, other]) == [0, 1]


def test_looking_at_a_line_changes_nothing(store: RedisStore, redis_server: RedisServer) -> None:
    """Neither its order nor how long it is kept."""
    take(store, KEY, "holder")
    join(store, KEY, "a")
    away(store, KEY, "b")
    with redis_server.client() as client:
        before = client.zrange(LINE, 0, -1, withscores=True), client.pexpiretime(LINE)
        assert len(store.line(KEY)) == store.waiting([KEY])[0] == 2
        assert (client.zrange(LINE, 0, -1, withscores=True), client.pexpiretime(LINE)) == before


def test_what_is_held_and_who_waits_is_counted_by_task(store: RedisStore) -> None:
    """For metrics: several holders of one key have one line."""
    for number in range(2):
        asked = Claim("room", f"shop.sell[{number}]@here:1#0{number}", 30.0, slots=2)
        assert not isinstance(store.acquire(asked), Busy)
    take(store, KEY, "shop.pay[1]@here:1#01")
    join(store, KEY, "a")
    join(store, "room", "b")
    join(store, "room", "c")
    assert census(store) == {"held": {"shop.sell": 2, "shop.pay": 1}, "waiting": {"shop.sell": 2, "shop.pay": 1}}
