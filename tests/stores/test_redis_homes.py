"""Who can wait in one process alone is passed over as soon as that process hears no more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Busy, Lease
from celery_locks.stores.base import Waiting
from celery_locks.ticket import Stance, undated
from tests.stores.contract.asking import claim, take
from tests.stores.contract.waiting import ask, hearing, join, look
from tests.stores.redis_stores import opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis import RedisServer

KEY, HOME = "wallet:42", "0a1b2c3d"


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(f"{redis_url}?claim_window=60") as store:
        yield store


def _gone(server: RedisServer) -> None:
    with server.client() as client:
        channel = f"lock:wake:{HOME}"
        wait_until(lambda: client.pubsub_numsub(channel) == [(channel, 0)], "the listener to be gone")


def _released(store: RedisStore) -> str:
    """Whom a release calls."""
    with hearing(store) as wake:
        assert store.release(claim(KEY, "holder"))
        return undated(wake().ticket)


def test_a_process_that_hears_is_called(store: RedisStore) -> None:
    """The first in line, as ever."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)):
        for name in (f"{HOME}.a", "b"):
            join(store, KEY, name)
        assert _released(store) == f"{HOME}.a"


def test_one_whose_process_is_gone_costs_nobody_a_claim_window(store: RedisStore, redis_server: RedisServer) -> None:
    """However many they are, the next who can come is called at once, and they are out of line."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)):
        for number in range(50):
            join(store, KEY, f"{HOME}.{number}")
        join(store, KEY, "b")
    _gone(redis_server)
    assert _released(store) == "b"
    with redis_server.client() as client:
        assert client.zcard(f"lock:{{{KEY}}}:line") == 1


def test_a_line_of_the_dead_leaves_the_key_free(store: RedisStore, redis_server: RedisServer) -> None:
    """Whoever asks next has it."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)):
        join(store, KEY, f"{HOME}.a")
    _gone(redis_server)
    assert store.release(claim(KEY, "holder"))
    assert isinstance(ask(store, KEY, "b"), Lease)


def test_whoever_asks_is_there(store: RedisStore) -> None:
    """One that is deaf for a moment, and asks or attends itself, does not lose its turn by that."""
    take(store, KEY, "holder")
    busy = join(store, KEY, f"{HOME}.a")
    join(store, KEY, f"{HOME}.b")
    assert store.force_release(KEY)
    assert busy.ticket
    assert look(store, KEY, busy.ticket).turn
    assert isinstance(ask(store, KEY, "a", busy.ticket), Lease)


def test_one_that_was_passed_over_comes_back_to_its_place(store: RedisStore) -> None:
    """Its connection broke and is made again: it attends with the date it had."""
    take(store, KEY, "holder")
    busy = join(store, KEY, f"{HOME}.a")
    join(store, KEY, "b")
    assert _released(store) == "b"
    lease = ask(store, KEY, "b")
    assert isinstance(lease, Lease)
    assert busy.ticket
    with contextlib.closing(store.listen(HOME)):
        join(store, KEY, "c")
        store.attend([Waiting(KEY, busy.ticket)])
        with hearing(store) as wake:
            assert store.release(lease.claim)
            assert wake().ticket == busy.ticket


def test_one_that_goes_back_to_a_queue_leaves_its_process(store: RedisStore, redis_server: RedisServer) -> None:
    """Its message may come to any: its ticket keeps the date and loses the name of the process."""
    take(store, KEY, "holder")
    first = join(store, KEY, f"{HOME}.a")
    away = join(store, KEY, "a", first.ticket, Stance.GOES)
    assert isinstance(away, Busy)
    assert (away.ticket, away.present) == ((first.ticket or "").replace(f"{HOME}.", ""), False)
    with redis_server.client() as client:
        assert [undated(name) for name in client.zrange(f"lock:{{{KEY}}}:line", 0, -1)] == ["a"]


def test_one_that_comes_to_wait_in_a_slot_leaves_its_process(store: RedisStore) -> None:
    """The main process kept it at its door; it waits in a pool process now, whatever the main process listens to."""
    lease = take(store, KEY, "holder")
    first = join(store, KEY, f"{HOME}.a")
    slot = join(store, KEY, "a", first.ticket, Stance.WAITS_IF_NEXT)
    assert (slot.ticket, slot.present) == ((first.ticket or "").replace(f"{HOME}.", ""), True)
    assert store.release(lease.claim)
    assert isinstance(ask(store, KEY, "a", slot.ticket), Lease)
