"""A Redis that has no memory left."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from celery_locks.stores import open_store
from celery_locks.stores.redis import RedisStore
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim, take
from tests.stores.redis_sayings import is_one_clean_line
from tests.stores.redis_stores import FENCE, full, kept

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def full_server() -> Iterator[RedisServer]:
    with RedisServer(maxmemory_policy="noeviction") as server:
        yield server


@pytest.fixture
def crowded(full_server: RedisServer) -> Iterator[RedisStore]:
    full_server.flush()
    with contextlib.closing(open_store(full_server.url)) as store:
        assert isinstance(store, RedisStore)
        yield store


def test_a_full_redis_gives_no_lock_and_keeps_none(crowded: RedisStore, full_server: RedisServer) -> None:
    """Out of memory, an acquire is refused with what to do about it, and no key is left behind."""
    with full(full_server), pytest.raises(StoreUnavailable, match=r"refused.*raise maxmemory") as caught:
        crowded.acquire(claim("wallet"))
    is_one_clean_line(caught.value)
    assert kept(full_server) == {}


def test_a_full_redis_renews_and_takes_back(crowded: RedisStore, full_server: RedisServer) -> None:
    """Out of memory, what is held can be renewed, released and released again; its fence still grows."""
    leases = [take(crowded, name) for name in ("wallet", "report", "forced")]
    with full(full_server):
        assert crowded.renew(leases) == [Verdict.RENEWED] * 3
        assert crowded.acquire(leases[0].claim).fence == leases[0].fence  # type: ignore[union-attr] # a repeated one
        assert crowded.release(leases[0].claim)
        assert crowded.release(leases[0].claim)
        assert crowded.inspect("wallet") is None
        assert crowded.release(leases[1].claim)
        assert crowded.force_release("forced")
    assert crowded.acquire(leases[0].claim) == Busy()
    assert take(crowded, "wallet", "ben").fence > leases[0].fence


def test_a_full_redis_keeps_nothing_for_ever(crowded: RedisStore, full_server: RedisServer) -> None:
    """What a release leaves behind when out of memory ends as everything does."""
    lease = take(crowded, "wallet")
    with full(full_server):
        assert crowded.release(lease.claim)
    assert 0 < full_server.ask("PTTL", FENCE) <= 2 * 86_400_000
