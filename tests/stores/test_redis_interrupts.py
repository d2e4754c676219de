"""A soft time limit or Ctrl-C in the middle of a request to Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Lease
from celery_locks.stores.redis.wire import Pooled
from tests.stores.contract.asking import claim, hears_its_own, take
from tests.stores.redis_stores import opened
from tests.stores.time_limits import SoftTimeLimit

if TYPE_CHECKING:
    from celery_locks.stores.redis import RedisStore


def test_an_interrupt_between_request_and_answer_is_no_mix_up(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Struck after the request was sent and before its answer was awaited, a connection is never used again."""
    with opened(redis_url) as store:
        take(store, "wallet", "anna")
        _strike_once_after_sending(store, monkeypatch)
        with pytest.raises(SoftTimeLimit):
            store.renew([Lease(claim("wallet", "anna"), 1, None)])
        hears_its_own(store, rounds=10)


def _strike_once_after_sending(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = store._wire
    assert isinstance(wire, Pooled)
    connection = wire._pool.connection_class
    send = connection.send_packed_command

    def struck(self: object, *words: object, **options: object) -> None:
        send(self, *words, **options)
        monkeypatch.undo()
        raise SoftTimeLimit

    monkeypatch.setattr(connection, "send_packed_command", struck)
