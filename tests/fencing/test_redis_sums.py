"""What the guard for Redis adds, and how often: once."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import redis

from celery_locks import StaleFence
from celery_locks.fencing.redis import Fenced
from tests.fencing.leases import lease_of

LARGEST = 2**63 - 1


def test_a_repeated_incr_adds_once(client: redis.Redis) -> None:
    """A client that had no answer sends the same words again: it gets the first sum."""
    guard = Fenced(_Twice(client))
    assert [guard.incr("count", 2, lease=lease_of(7)) for _ in range(3)] == [2, 4, 6]
    assert client.get("count") == "6"


def test_a_refused_incr_is_not_done_when_it_is_repeated(client: redis.Redis) -> None:
    """Where the first answer, an error, was lost: the second is the same error."""
    client.set("full", LARGEST)
    with pytest.raises(redis.ResponseError, match="overflow"):
        Fenced(_Twice(client)).incr("full", lease=lease_of(7))
    client.lpush("list", 1)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        Fenced(_Twice(client)).incr("list", lease=lease_of(7))


class _Twice:
    """A client that sends everything twice, as redis-py does when the first answer is lost."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def execute_command(self, *words: Any) -> Any:
        with contextlib.suppress(redis.exceptions.ResponseError):
            self._client.execute_command(*words)
        return self._client.execute_command(*words)


def test_a_sum_is_exact(guard: Fenced) -> None:
    """Also where a double would be off by one."""
    assert guard.incr("count", 2**53, lease=lease_of(7)) == 2**53
    assert [guard.incr("count", lease=lease_of(7)) for _ in range(2)] == [2**53 + 1, 2**53 + 2]
    assert guard.incr("low", -LARGEST, lease=lease_of(7)) == -LARGEST


def test_an_incr_of_the_next_holder_is_not_a_repeated_one(guard: Fenced) -> None:
    """Nor is the next one of the same holder; one that is stale is refused, also when it had been done before."""
    assert guard.incr("count", lease=lease_of(7)) == 1
    assert guard.incr("count", lease=lease_of(8)) == 2
    with pytest.raises(StaleFence):
        guard.incr("count", lease=lease_of(7))
    guard.set("count", 40, lease=lease_of(8))
    assert guard.incr("count", 2, lease=lease_of(8)) == 42
