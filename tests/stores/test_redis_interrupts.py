"""A soft time limit or Ctrl-C in the middle of a request to Redis."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Lease
from celery_locks.stores.redis.wire import Pooled
from tests.stores.contract.asking import claim, refused, take
from tests.stores.redis_stores import opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from celery_locks.stores.redis import RedisStore
    from tests.servers.proxy import Proxy


@pytest.fixture
def way(proxy: Callable[[str], Proxy], redis_url: str) -> Proxy:
    """A proxy on the way to an empty Redis."""
    return proxy(redis_url)


@pytest.fixture
def other(redis_url: str) -> Iterator[RedisStore]:
    """A client whose way is never broken."""
    with opened(redis_url) as store:
        yield store


class _SoftTimeLimit(Exception):
    """What Celery raises in the middle of anything."""


@contextlib.contextmanager
def _struck_after(seconds: float) -> Iterator[None]:
    def strike(_signum: int, _frame: FrameType | None) -> None:
        raise _SoftTimeLimit

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_acquire_leaves_no_lock_and_no_answer(way: Proxy, other: RedisStore) -> None:
    """A soft time limit while the answer is awaited: the key is given back, and the next request hears its own."""
    with opened(way.url) as store:
        take(store, "first")
        way.delay(0.1, "answers")
        with pytest.raises(_SoftTimeLimit), _struck_after(0.05):
            store.acquire(claim("wallet", "anna"))
        way.delay(0)
        wait_until(lambda: other.inspect("wallet") is None, "what was taken to be given back", timeout=5)
        assert take(store, "wallet", "ben").owner == "ben"
        assert refused(store, "wallet", "cleo").holder == "ben"


def test_an_interrupt_between_request_and_answer_is_no_mix_up(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Struck after the request was sent and before its answer was awaited, a connection is never used again."""
    with opened(redis_url) as store:
        take(store, "wallet", "anna")
        _strike_once_after_sending(store, monkeypatch)
        with pytest.raises(_SoftTimeLimit):
            store.renew([Lease(claim("wallet", "anna"), 1, None)])
        for number in range(10):
            assert take(store, f"key {number}", "ben").claim.owner == "ben"
            assert refused(store, f"key {number}", "cleo").holder == "ben"


def _strike_once_after_sending(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = store._wire
    assert isinstance(wire, Pooled)
    connection = wire._pool.connection_class
    send = connection.send_packed_command

    def struck(self: object, *words: object, **options: object) -> None:
        send(self, *words, **options)
        monkeypatch.undo()
        raise _SoftTimeLimit

    monkeypatch.setattr(connection, "send_packed_command", struck)
