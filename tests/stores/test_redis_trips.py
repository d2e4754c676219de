"""How often Redis is asked: round trips, counted on the way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Verdict
from tests.stores.contract.asking import claim, take
from tests.stores.places import fresh
from tests.stores.redis_stores import calls, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.lease import Lease
    from celery_locks.stores.redis import RedisStore
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place


@pytest.fixture
def place(redis_url: str) -> Place:
    return fresh(redis_url, opened)


@pytest.fixture
def leases(store: RedisStore) -> list[Lease]:
    """A thousand leases, of which one was given back."""
    leases = [take(store, f"key {number}") for number in range(1000)]
    assert store.renew(leases[:1]) == [Verdict.RENEWED]
    assert store.release(leases[700].claim)
    return leases


EXPECTED = [Verdict.LOST if number == 700 else Verdict.RENEWED for number in range(1000)]


def test_a_thousand_leases_are_renewed_in_one_round_trip(
    store: RedisStore, leases: list[Lease], way: Proxy, redis_server: RedisServer
) -> None:
    """All is said before an answer is heard, in commands of 500 leases; each answer is for its own lease."""
    before, verdicts = calls(redis_server, "evalsha"), []
    way.hold("answers")
    renewal = threading.Thread(target=lambda: verdicts.extend(store.renew(leases)))
    renewal.start()
    wait_until(lambda: calls(redis_server, "evalsha") - before == 2, "both commands to be done, with no answer heard")
    way.let_go("answers")
    renewal.join()
    assert verdicts == EXPECTED


def test_a_renewal_in_one_round_trip_knows_forgotten_scripts(
    store: RedisStore, leases: list[Lease], redis_server: RedisServer
) -> None:
    """After SCRIPT FLUSH it is said once more, in full."""
    redis_server.ask("SCRIPT", "FLUSH")
    assert store.renew(leases) == EXPECTED


def test_a_renewal_in_one_round_trip_lives_through_a_reset(store: RedisStore, leases: list[Lease], way: Proxy) -> None:
    """On a connection that died while idle, and with its first answer cut, it is said once more."""
    way.cut()
    assert store.renew(leases) == EXPECTED
    way.cut_answer(b"EVAL")
    assert store.renew(leases) == EXPECTED


def test_renewing_nothing_asks_nothing(store: RedisStore, way: Proxy) -> None:
    """No lease, no request, also where there is no server."""
    way.refuse()
    assert store.renew([]) == []


def test_a_lock_and_its_release_are_two_round_trips(store: RedisStore, redis_server: RedisServer) -> None:
    """An uncontended lock asks twice and nothing else, the second time at the latest."""
    take(store, "first")
    assert store.release(claim("first"))
    with redis_server.client() as client:
        client.config_resetstat()
        take(store, "wallet")
        assert store.release(claim("wallet"))
        asked = {name: stats["calls"] for name, stats in client.info("commandstats").items()}
    # What is not listed here would be a round trip of its own.
    scripted = ("get", "time", "set", "del", "zrange", "config|resetstat")
    assert {name: count for name, count in asked.items() if not name.endswith(scripted)} == {"cmdstat_evalsha": 2}
