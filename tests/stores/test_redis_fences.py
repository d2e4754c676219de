"""Fences and times in Redis: what grows, what ends, and what a key costs."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim, Lease
from celery_locks.stores import open_store
from tests.servers.missing import require
from tests.servers.programs import REDIS
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim, take
from tests.stores.redis_stores import FENCE, LOCK, give_up, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore


FAR = 2**52
"""A fence from a server clock that was far ahead: year 2112."""


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(redis_url) as store:
        yield store


def test_a_fence_is_the_servers_time(store: RedisStore, redis_server: RedisServer) -> None:
    """The first fence of a key is the server's clock in microseconds."""
    before = _now(redis_server)
    assert before <= take(store, "wallet").fence <= _now(redis_server)


def _now(server: RedisServer) -> int:
    seconds, microseconds = server.ask("TIME")
    return int(seconds) * 1_000_000 + int(microseconds)


def test_a_fence_grows_though_the_servers_clock_went_back(store: RedisStore, redis_server: RedisServer) -> None:
    """A key whose last fence lies in the future gets the next number, and the one after that."""
    redis_server.ask("SET", FENCE, f"{FAR}:")
    for number in range(1, 4):
        assert take(store, "wallet", f"owner {number}").fence == FAR + number
        assert store.release(claim("wallet", f"owner {number}"))


def test_a_fence_grows_across_expiry_though_the_clock_went_back(store: RedisStore, redis_server: RedisServer) -> None:
    """A holder that died without a release has left its fence behind."""
    redis_server.ask("SET", FENCE, f"{FAR}:")
    take(store, "wallet", ttl=0.01)
    wait_until(lambda: store.inspect("wallet") is None, "the end of the lease")
    assert take(store, "wallet", "ben").fence == FAR + 2


def test_a_fence_grows_across_a_forced_release_though_the_clock_went_back(
    store: RedisStore, redis_server: RedisServer
) -> None:
    """Also when the lock had outlived the memory of its fence."""
    redis_server.ask("SET", LOCK, f"{FAR}:anna")
    assert store.force_release("wallet")
    assert take(store, "wallet", "ben").fence == FAR + 1


def test_a_fence_grows_across_a_release_of_a_long_held_lock(store: RedisStore, redis_server: RedisServer) -> None:
    """A lock that was renewed for longer than fences are kept takes its own along."""
    redis_server.ask("SET", LOCK, f"{FAR}:anna")
    assert store.release(claim("wallet"))
    assert take(store, "wallet", "ben").fence == FAR + 1


def test_a_fence_grows_across_the_loss_of_everything(store: RedisStore, redis_server: RedisServer) -> None:
    """FLUSHALL forgets the fence; the clock does not."""
    first = take(store, "wallet")
    redis_server.flush()
    assert take(store, "wallet", "ben").fence > first.fence


def test_a_fence_grows_across_a_restart_without_data(store: RedisStore, redis_server: RedisServer) -> None:
    """A server that was killed and comes back empty gives a higher fence, to the same store object."""
    first = take(store, "wallet")
    redis_server.kill()
    redis_server.start()
    assert redis_server.ask("DBSIZE") == 0
    assert take(store, "wallet", "ben").fence > first.fence


def test_a_fence_grows_across_a_restart_though_the_clock_went_back() -> None:
    """A server that has written all down remembers the last fence over a kill, also one from a clock far ahead."""
    require(REDIS)
    with RedisServer(appendonly="yes", appendfsync="always") as careful, opened(careful.url) as store:
        careful.ask("SET", FENCE, f"{FAR}:")
        assert take(store, "wallet").fence == FAR + 1
        assert store.release(claim("wallet"))
        careful.kill()
        careful.start()
        assert take(store, "wallet", "ben").fence == FAR + 2


def test_fences_are_whole_numbers_to_the_last_digit(store: RedisStore, redis_server: RedisServer) -> None:
    """What the lease says is what is written and what others see."""
    lease = take(store, "wallet")
    assert redis_server.ask("GET", LOCK) == f"{lease.fence}:anna"
    holding = store.inspect("wallet")
    assert holding is not None
    assert holding.fence == lease.fence


def test_no_fence_is_given_twice_to_threads(store: RedisStore) -> None:
    """Of all leases that many threads ever get of one key, no two have the same fence."""
    fences: list[int] = []

    def turns(name: str) -> None:
        for turn in range(50):
            answer = store.acquire(claim("wallet", f"{name}.{turn}"))
            if isinstance(answer, Lease):
                fences.append(answer.fence)
                store.release(answer.claim)

    threads = [threading.Thread(target=turns, args=(f"thread {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fences) > 10
    assert len(set(fences)) == len(fences)


@pytest.mark.parametrize("ttl", [0.0001, 0.3333333333, 1 / 3, 10.1, 86_400.5, 1e6])
def test_no_ttl_makes_a_key_without_an_end(store: RedisStore, redis_server: RedisServer, ttl: float) -> None:
    """Any fraction of a second is a ttl, rounded up to a millisecond; nothing is ever written without an expiry."""
    store.acquire(Claim("wallet", "anna", ttl))
    assert redis_server.ask("PTTL", LOCK) <= ttl * 1000 + 1
    assert redis_server.ask("PTTL", LOCK) != -1
    store.acquire(Claim("wallet", "anna", ttl))
    store.renew([Lease(Claim("wallet", "anna", ttl), 1, None)])
    assert redis_server.ask("PTTL", LOCK) != -1
    store.release(claim("wallet"))
    assert 0 < redis_server.ask("PTTL", FENCE) <= 2 * 86_400_000


def test_a_ttl_beyond_all_time_leaves_no_lock(store: RedisStore, redis_server: RedisServer) -> None:
    """What Redis cannot count to is refused, and no lock stays."""
    with pytest.raises(StoreUnavailable, match="use a shorter one"):
        store.acquire(Claim("wallet", "anna", 1e17))
    assert redis_server.ask("GET", LOCK) is None


def test_nothing_is_left_after_the_retention(redis_url: str, redis_server: RedisServer) -> None:
    """When nobody asks for a key any more, its last trace ends with the fence's retention."""
    with contextlib.closing(open_store(f"{redis_url}?fence_retention=3")) as store:
        for number in range(50):
            take(store, f"key {number}", ttl=3.0)
            if number % 2:
                assert store.release(claim(f"key {number}"))
        assert redis_server.ask("DBSIZE") == 75
        wait_until(lambda: redis_server.ask("DBSIZE") == 0, "all keys to be gone", timeout=20)


def test_a_key_costs_less_than_400_bytes(
    store: RedisStore, redis_server: RedisServer, record_property: pytest.RecordProperty
) -> None:
    """What a key costs while it is held, and until its fence is forgotten, is bounded, and printed."""
    owner = "shop.tasks.withdraw@worker-17.example.org:12345#0123456789abcdef"
    take(store, "wallet", owner)
    held = sum(redis_server.ask("MEMORY", "USAGE", name) for name in (LOCK, FENCE))
    assert store.release(claim("wallet", owner))
    after = redis_server.ask("MEMORY", "USAGE", FENCE)
    record_property("bytes a key", f"{held} while held, {after} after the release")
    print(f"bytes a key: {held} while held, {after} after the release")  # noqa: T201 - a figure asked for
    assert after < held < 400


def test_a_key_does_not_grow_with_its_use(store: RedisStore, redis_server: RedisServer) -> None:
    """After a thousand holders and a hundred that gave up, a key remembers the last few owners and no more."""
    for number in range(1000):
        take(store, "wallet", f"owner {number}")
        assert store.release(claim("wallet", f"owner {number}"))
    take(store, "wallet", "holder")
    for number in range(100):
        give_up(store, f"late {number}")
    assert redis_server.ask("STRLEN", FENCE) < 500
    assert store.release(claim("wallet", "holder"))
    assert redis_server.ask("STRLEN", FENCE) < 500
    assert redis_server.ask("DBSIZE") == 1
