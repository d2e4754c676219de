"""Several holders of a key in a Redis that is full, forgets, is asked late or twice, or has something else there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from celery_locks.stores.base import Waiting
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import run_out, take, verdict
from tests.stores.contract.crowd_lines import name_of, stand
from tests.stores.contract.crowding import alone, enter, owners, part, reader, turned_away
from tests.stores.contract.waiting import LONG, hearing, passed
from tests.stores.redis_stores import FENCE, LOCK, calls, dump, full, give_up, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.lease import Claim
    from celery_locks.stores.redis import RedisStore

SLOTS = f"{LOCK}:slots"


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(f"{redis_url}?claim_window={LONG}") as store:
        yield store


@pytest.mark.parametrize("ask", [part, reader])
def test_nothing_is_left_of_a_crowd(store: RedisStore, redis_server: RedisServer, ask: Callable[..., Claim]) -> None:
    """When the last has left, its fence alone remains; when all have died, that is so in a moment."""
    leases = [enter(store, ask("wallet", name)) for name in "abc"]
    assert redis_server.ask("TYPE", LOCK) == "zset"
    assert 30_000 < redis_server.ask("PTTL", LOCK) <= 40_001
    for lease in leases:
        assert store.release(lease.claim)
    assert redis_server.ask("KEYS", "*") == [FENCE]
    enter(store, ask("wallet", "d", ttl=0.2))
    assert 0 < redis_server.ask("PTTL", LOCK) <= 10_201


def test_renewal_keeps_the_key_of_all(store: RedisStore, redis_server: RedisServer) -> None:
    """Redis does not end the set before the last of its holders, whoever is renewed last."""
    first, second = enter(store, part("wallet", "a", ttl=1.0)), enter(store, part("wallet", "b", ttl=1.0))
    second.ttl = 600.0
    assert store.renew([second, first]) == [Verdict.RENEWED] * 2
    assert redis_server.ask("PTTL", LOCK) > 590_000
    run_out(first)
    assert owners(store, "wallet") == ["b"]


def test_one_that_gave_up_gets_no_place_later(store: RedisStore) -> None:
    """Its acquire, held up by the network, arrives after its farewell: it takes nothing and stands in no line."""
    enter(store, part("wallet", "a"))
    for owner in ("late", "dead"):
        give_up(store, owner) if owner == "late" else store.disown(part("wallet", owner))
        assert store.acquire(part("wallet", owner)) == Busy()
    assert owners(store, "wallet") == ["a"]


def test_a_release_says_yes_again_after_many_others(store: RedisStore) -> None:
    """Its answer was lost, and twenty that held the key with it have left meanwhile; a stranger hears no."""
    leases = [enter(store, reader("wallet", f"bank.withdraw[0c3d]@host:123#{n:016x}")) for n in range(21)]
    for lease in leases:
        assert store.release(lease.claim)
    assert store.release(leases[0].claim)
    assert not store.release(reader("wallet", "stranger"))


def test_a_script_costs_as_much_however_many_there_are(store: RedisStore, redis_server: RedisServer) -> None:
    """Two hundred hold the key and two hundred wait: who comes, beats or leaves asks as few commands as with ten."""
    costs = []
    for count in (10, 200):
        key = f"wallet:{count}"
        for n in range(count):
            enter(store, reader(key, f"r{n}"))
        stand(store, alone(key, "writer"), *(reader(key, f"wait {n}") for n in range(count)))
        before = _commands(redis_server)
        verdict(store, enter(store, reader(key, "r0")))
        turned_away(store, reader(key, "one more"))
        assert store.release(reader(key, "r1"))
        costs.append(_commands(redis_server) - before)
    # What is set to last longer, it need not be each time.
    assert costs[1] <= costs[0] + 3


def _commands(server: RedisServer) -> int:
    names = ("zadd", "zrem", "zrange", "zscore", "zcount", "zrangebyscore", "get", "set", "pttl", "publish", "hset")
    return sum(calls(server, name) for name in names)


FOREIGN = {"zset": ("ZADD", "1", "a"), "kindless": ("ZADD", "1", "until:a"), "list": ("RPUSH", "a")}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_something_else_under_a_locks_name_stays(
    store: RedisStore, redis_server: RedisServer, foreign: tuple[str, ...]
) -> None:
    """A sorted set that is no crowd, or no sorted set: each verb says so or says no, and nothing is changed."""
    redis_server.ask(foreign[0], LOCK, *foreign[1:])
    before = dump(redis_server, LOCK)
    for claim in (part("wallet", "b"), reader("wallet", "b"), alone("wallet", "b")):
        with pytest.raises(StoreUnavailable, match="something else is kept under this name"):
            store.acquire(claim)
        assert not store.release(claim)
    with pytest.raises(StoreUnavailable, match="something else is kept under this name"):
        store.force_release("wallet")
    store.set_slots("wallet", 3)
    store.attend([Waiting("wallet", "r.b"), Waiting("wallet", "")])
    store.leave([Waiting("wallet", "r.b")])
    assert store.holders("wallet") == []
    assert list(store.list()) == []
    assert dump(redis_server, LOCK) == before


@pytest.fixture(scope="module")
def bounded_server() -> Iterator[RedisServer]:
    with RedisServer(maxmemory_policy="noeviction") as server:
        yield server


def test_a_full_redis_takes_no_place_from_anybody(bounded_server: RedisServer) -> None:
    """Nobody new comes in; who holds the key with others renews it past its first time, and gives it back."""
    with opened(f"{bounded_server.url}?claim_window={LONG}") as store:
        leases = [enter(store, part("wallet", name, ttl=1.0)) for name in "abc"]
        single = take(store, "single")
        waiting = stand(store, part("wallet", "d", 2))
        with full(bounded_server):
            for lease in leases:
                lease.ttl = 30.0
            assert store.renew([*leases, single]) == [Verdict.RENEWED] * 4
            passed(1.0)
            assert owners(store, "wallet") == ["a", "b", "c"]
            assert store.release(leases[0].claim)
            turned_away(store, part("wallet", "e"))
            with pytest.raises(StoreUnavailable, match="raise maxmemory"):
                store.acquire(reader("other", "f"))
        assert store.renew(leases) == [Verdict.LOST, Verdict.RENEWED, Verdict.RENEWED]
        assert store.release(leases[1].claim)
        enter(store, waiting[0])


def test_those_whose_process_is_gone_hold_up_nobody(store: RedisStore) -> None:
    """Readers and a writer that waited in a worker that died: one look passes them over, and calls those behind."""
    enter(store, alone("wallet", "holder"))
    store.attend([Waiting("wallet", name) for name in ("r.a", "writer", "3.b")], "0a1b2c3d")
    stand(store, part("wallet", "c"), part("wallet", "d"))
    with hearing(store) as wake:
        assert store.release(alone("wallet", "holder"))
        assert [name_of(wake().ticket) for _ in range(2)] == ["c", "d"]


def test_a_number_is_the_keys_own(store: RedisStore, redis_server: RedisServer) -> None:
    """One string that does not end, and is gone with `None`."""
    store.set_slots("wallet", 7)
    assert redis_server.ask("GET", SLOTS) == "7"
    assert redis_server.ask("PTTL", SLOTS) == -1
    store.set_slots("wallet", None)
    assert redis_server.ask("EXISTS", SLOTS) == 0
