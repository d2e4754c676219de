"""Lines in a Redis that is full, forgets, refuses, or has something else under their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from celery_locks.stores.base import Waiting
from celery_locks.ticket import Stance
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim, run_out, take, verdict
from tests.stores.contract.waiting import LONG, ask, called, come, join, joined, look
from tests.stores.redis_stores import FENCE, LINE, LOCK, dump, full, kept, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(f"{redis_url}?claim_window={LONG}") as store:
        yield store


FOREIGN = {"list": ("RPUSH", "a"), "hash": ("HSET", "a", "b"), "text": ("SET", "hello")}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_something_else_under_a_lines_name_stays(
    store: RedisStore, redis_server: RedisServer, foreign: tuple[str, ...]
) -> None:
    """There is no line then: a key is taken or it is not, each comes by its countdown, and other keys have lines."""
    redis_server.ask(foreign[0], LINE, *foreign[1:])
    before = dump(redis_server, LINE)
    lease = take(store, "wallet", "holder")
    assert ask(store, "wallet", "a")._replace(age=None) == Busy("holder", pytest.approx(30, abs=10))
    take(store, "other", "holder")
    waiting = [Waiting("wallet", "0000000000000001-a"), Waiting("other", join(store, "other", "a").ticket or "")]
    assert [each.turn for each in store.attend(waiting)] == [False, False]
    assert store.release(claim("other", "holder"))
    assert [each.turn for each in store.attend(waiting)] == [False, True]
    store.leave(waiting)
    assert store.release(lease.claim)
    come(store, "wallet", "a")
    assert store.force_release("wallet")
    assert dump(redis_server, LINE) == before


@pytest.mark.parametrize("foreign", [("RPUSH", "a"), ("SET", "hello")])
def test_a_strange_lock_is_waited_for(store: RedisStore, redis_server: RedisServer, foreign: tuple[str, ...]) -> None:
    """One key of many that holds something else costs the others nothing, nor is it looked at without a pause."""
    take(store, "other", "holder")
    other = join(store, "other", "a").ticket or ""
    redis_server.ask(foreign[0], LOCK, *foreign[1:])
    looks = store.attend([Waiting("wallet", "0000000000000001-a"), Waiting("other", other)])
    assert looks[0].again >= 1
    store.leave([Waiting("wallet", "0000000000000001-a"), Waiting("other", other)])
    assert redis_server.ask("EXISTS", LINE, "lock:{other}:line") == 0


@pytest.fixture(scope="module")
def bounded_server() -> Iterator[RedisServer]:
    with RedisServer(maxmemory_policy="noeviction") as server:
        yield server


@pytest.fixture
def small_server(bounded_server: RedisServer) -> RedisServer:
    """A server whose memory may be bounded, empty."""
    bounded_server.flush()
    return bounded_server


def test_a_full_redis_keeps_no_line_and_loses_nobody(small_server: RedisServer) -> None:
    """Who cannot join waits without a place, nobody is called, what is held is given back; then all goes on."""
    with opened(f"{small_server.url}?claim_window={LONG}") as store:
        lease = take(store, "wallet", "holder")
        a, b = joined(store, "wallet", "a", "b")
        with full(small_server):
            assert join(store, "wallet", "late").ticket is None
            assert join(store, "wallet", "a", a, Stance.GOES).ticket is None
            assert not called(store, "wallet", b)
            assert store.release(lease.claim)
            assert isinstance(ask(store, "wallet", "late"), Busy)
            with pytest.raises(StoreUnavailable, match="raise maxmemory"):
                ask(store, "wallet", "a", a)
        assert store.release(come(store, "wallet", "a", a).claim)
        assert store.release(come(store, "wallet", "b", b).claim)
        assert list(kept(small_server)) == [FENCE]


def test_a_full_redis_leaves_no_line_standing_still(small_server: RedisServer) -> None:
    """Nobody gets a key on a full server, called or not; whoever looks or asks then is in nobody's way later."""
    with opened(f"{small_server.url}?claim_window={LONG}") as store:
        lease = take(store, "wallet", "holder", ttl=1.0)
        a, b = joined(store, "wallet", "a", "b")
        run_out(lease)
        with full(small_server):
            assert look(store, "wallet").again > 0
            assert look(store, "wallet", a).again > 0
            assert isinstance(ask(store, "wallet", "late"), Busy)
            with pytest.raises(StoreUnavailable, match="raise maxmemory"):
                ask(store, "wallet", "a", a)
        look(store, "wallet")
        assert store.release(come(store, "wallet", "a", a).claim)
        assert store.release(come(store, "wallet", "b", b).claim)
        assert list(kept(small_server)) == [FENCE]


def test_a_full_redis_answers_for_those_whose_process_is_gone(small_server: RedisServer) -> None:
    """They cannot be passed over, which is no error for whoever asks, nor for the lines looked at with theirs."""
    with opened(f"{small_server.url}?claim_window={LONG}") as store:
        for key in ("wallet", "other"):
            take(store, key, "holder")
        store.attend([Waiting("wallet", "a")], "0a1b2c3d")
        small_server.ask("DEL", LOCK)
        with full(small_server):
            looks = store.attend([Waiting("wallet", ""), Waiting("other", "")])
            assert [each and each.idle for each in looks] == [True, False]
            assert isinstance(ask(store, "wallet", "late"), Busy)
        come(store, "wallet", "late")


def test_a_server_that_forgot_all_gives_each_its_place_again(redis_url: str, redis_server: RedisServer) -> None:
    """After a restart without data those who wait come back by their tickets, in their order."""
    with opened(f"{redis_url}?claim_window={LONG}") as store:
        take(store, "wallet", "holder")
        a, b, c = joined(store, "wallet", "a", "b", "c")
        redis_server.flush()
        assert called(store, "wallet", c)
        assert not called(store, "wallet", b)
        assert join(store, "wallet", "a", a).place == 1
        for name, ticket in (("c", c), ("a", a), ("b", b)):
            assert store.release(come(store, "wallet", name, ticket).claim)


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server whose users may do less."""
    locks = "+eval +evalsha +get +set +del +rename +pexpire +pttl +time +scan"
    line = "+zadd +zrem +zrange +zscore +zcount +zrangebyscore +zremrangebyscore"
    with RedisServer() as server:
        server.ask("ACL", "SETUSER", "plain", "on", ">enough", "~lock:*", *locks.split())
        server.ask("ACL", "SETUSER", "mute", "on", ">enough", "~lock:*", *locks.split(), *line.split())
        yield server


def test_without_the_rights_for_a_line_there_are_still_locks(guarded: RedisServer) -> None:
    """A user of before there were lines has locks as before, and nobody waits in line; only a listener is refused."""
    with opened(guarded.url.replace("://", "://plain:enough@")) as store:
        lease = take(store, "wallet", "holder")
        assert join(store, "wallet", "a").ticket is None
        assert verdict(store, lease) is Verdict.RENEWED
        assert look(store, "wallet", "0000000000000001-a").again > 0
        store.leave([Waiting("wallet", "0000000000000001-a")])
        assert store.release(lease.claim)
        assert store.release(come(store, "wallet", "a").claim)
        with pytest.raises(StoreUnavailable, match=r"\+subscribe"):
            store.listen()
    guarded.flush()


def test_without_the_right_to_publish_there_is_a_line_without_wakes(guarded: RedisServer) -> None:
    """The key is kept for the first, who learns of it when it is attended to."""
    with opened(f"{guarded.url.replace('://', '://mute:enough@')}?claim_window={LONG}") as store:
        take(store, "wallet", "holder")
        a, b = joined(store, "wallet", "a", "b")
        assert store.release(claim("wallet", "holder"))
        assert isinstance(ask(store, "wallet", "b", b), Busy)
        assert called(store, "wallet", a)
        come(store, "wallet", "a", a)
    guarded.flush()
