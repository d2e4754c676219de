"""The line of a key in Redis: whom it calls, what it costs, and what is left of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.guard import Guard
from celery_locks.lease import Lease
from celery_locks.roll import OFTEN
from celery_locks.stores.base import Waiting, Wake
from celery_locks.ticket import Stance
from tests.stores.contract.asking import claim, refused, take
from tests.stores.contract.waiting import LONG, away, come, hearing, join, joined, look, passed
from tests.stores.contract.watchers import pause, running
from tests.stores.redis_stores import FENCE, LINE, LOCK, calls, kept, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis import RedisServer

AN_HOUR = 3_600_000_000


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(f"{redis_url}?claim_window={LONG}") as store:
        yield store


def test_nothing_is_left_when_all_is_done(store: RedisStore, redis_server: RedisServer) -> None:
    """After those who came, left, were passed over or came back from afar, only the last fence is remembered."""
    take(store, "wallet", "holder")
    tickets = joined(store, "wallet", "a", "b", "c")
    far, gone = (away(store, "wallet", name) for name in ("d", "e"))
    store.leave([Waiting("wallet", tickets[1]), Waiting("wallet", gone)])
    redis_server.ask("ZINCRBY", LINE, -AN_HOUR // 2, "d")
    assert store.release(claim("wallet", "holder"))
    redis_server.ask("DEL", LOCK)
    assert store.release(come(store, "wallet", "c", tickets[2]).claim)
    assert store.release(come(store, "wallet", "d", far).claim)
    assert list(kept(redis_server)) == [FENCE]


def test_a_line_ends_when_nobody_comes_any_more(store: RedisStore, redis_server: RedisServer) -> None:
    """What nobody ever looks at again is not kept for ever."""
    take(store, "wallet", "holder", ttl=1)
    joined(store, "wallet", "a")
    away(store, "wallet", "b")
    assert 0 < redis_server.ask("PTTL", LINE) <= 86_400_000
    look(store, "wallet", joined(store, "wallet", "c")[0])
    assert 0 < redis_server.ask("PTTL", LINE) <= 86_400_000


def test_those_who_never_came_back_are_forgotten(store: RedisStore, redis_server: RedisServer) -> None:
    """A line does not grow by jobs that were lost on their way; one that comes after all has its place."""
    take(store, "wallet", "holder")
    lost = [away(store, "wallet", f"lost {number}") for number in range(20)]
    for number in range(20):
        redis_server.ask("ZINCRBY", LINE, -AN_HOUR - 1, f"lost {number}")
    busy = join(store, "wallet", "a", stance=Stance.GOES)
    assert busy.place == 1
    assert redis_server.ask("ZCARD", LINE) == 1
    look(store, "wallet", busy.ticket or "")
    look(store, "wallet", lost[7])
    assert store.release(claim("wallet", "holder"))
    come(store, "wallet", "lost 7", lost[7])


def test_many_who_do_not_come_cost_ever_less(store: RedisStore, redis_server: RedisServer) -> None:
    """A worker died with all who waited there: each is called for a shorter time, until one comes."""
    take(store, "wallet", "holder")
    tickets = joined(store, "wallet", *(f"{number:02}" for number in range(16)))
    assert store.release(claim("wallet", "holder"))
    windows = [_window(store, redis_server) for _ in range(14)]
    assert windows == pytest.approx([LONG, LONG / 2, LONG / 4] + [LONG / 8] * 11)
    lease = come(store, "wallet", "14", tickets[14])
    with hearing(store) as wake:
        assert store.release(lease.claim)
        assert wake() == Wake("wallet", tickets[15], turn=True, window=LONG)


def _window(store: RedisStore, server: RedisServer) -> float:
    """How long the key is kept for the next when the one before did not come."""
    server.ask("DEL", LOCK)
    with hearing(store) as wake:
        look(store, "wallet")
        return wake().window


def test_one_that_has_left_is_waited_for_half_a_second_at_most(store: RedisStore, redis_server: RedisServer) -> None:
    """However long the claim window is, or short."""
    for url in (f"?claim_window={LONG}", "?claim_window=0.01"):
        with opened(redis_server.url + url) as each, hearing(store) as wake:
            redis_server.flush()
            take(each, "wallet", "holder")
            away(each, "wallet", "a")
            redis_server.ask("ZINCRBY", LINE, AN_HOUR, "a")
            assert each.release(claim("wallet", "holder"))
            assert wake().window == 0.5


def test_many_who_left_at_once_are_waited_for_together(store: RedisStore, redis_server: RedisServer) -> None:
    """Each has what is left of its own half second: the key is not kept for that long for one after the other."""
    take(store, "wallet", "holder")
    for number in range(20):
        away(store, "wallet", f"{number}")
        redis_server.ask("ZINCRBY", LINE, -300_000, f"{number}")
    (waiting,) = joined(store, "wallet", "here")
    with hearing(store) as wake:
        assert store.release(claim("wallet", "holder"))
        heard = wake()
        # On a machine that paused, all had left long ago.
        if heard.ticket != waiting:
            assert heard.window <= 0.2
            passed(0.2)
            look(store, "wallet")
            heard = wake()
        assert heard.ticket == waiting


def test_whoever_may_wait_in_a_slot_comes_when_it_is_the_next(store: RedisStore) -> None:
    """When somebody takes the key, the next in line is told, if it is one that can wait where it asks."""
    take(store, "wallet", "holder")
    slow, quick, last = (look_in(store, name, comes=name != "a") for name in "abc")
    with hearing(store) as wake:
        assert store.release(claim("wallet", "holder"))
        assert wake() == Wake("wallet", slow, turn=True, window=LONG)
        come(store, "wallet", "a", slow)
        assert wake() == Wake("wallet", quick, turn=False, window=LONG)
        assert join(store, "wallet", "b", quick, Stance.WAITS_IF_NEXT).present
        assert not join(store, "wallet", "c", last, Stance.WAITS_IF_NEXT).present


def look_in(store: RedisStore, name: str, *, comes: bool) -> str:
    """It waits in a worker, away from the slots."""
    ticket = away(store, "wallet", name)
    store.attend([Waiting("wallet", ticket, comes)])
    return ticket


@pytest.mark.parametrize("length", [10, 1000])
def test_a_turn_costs_the_same_however_long_the_line(store: RedisStore, redis_server: RedisServer, length: int) -> None:
    """Joining, being attended to, a release with its call, and coming are as many commands each for any line."""
    take(store, "wallet", "holder")
    tickets = joined(store, "wallet", *(f"{number:04}" for number in range(length)))
    lease = take(store, "wallet", "holder")
    with redis_server.client() as client:
        client.config_resetstat()
        for number in range(5):
            assert store.release(lease.claim)
            lease = come(store, "wallet", f"{number:04}", tickets[number])
            away(store, "wallet", f"new {number}")
            look(store, "wallet", tickets[number + 1])
        asked = {
            name.removeprefix("cmdstat_"): int(stats["calls"]) for name, stats in client.info("commandstats").items()
        }
    assert {name: asked.get(name, 0) for name in ("evalsha", "publish", "zadd", "zrange", "zrem", "zcount")} == {
        "evalsha": 20,
        "publish": 5,
        "zadd": 20,
        "zrange": 10,
        "zrem": 5,
        "zcount": 10,
    }
    assert sum(asked.values()) - asked["evalsha"] <= 5 * 50


def test_who_waits_in_line_is_told_and_does_not_ask(store: RedisStore, redis_server: RedisServer) -> None:
    """It asked once, looks at the line each second and a half, and has the key when that is given back."""

    def never(_: float) -> None:
        pytest.fail("it slept")

    take(store, "wallet", "holder")
    guard = Guard(store, sleep=never)
    with running(lambda: guard.enter(claim("wallet", "ben"), wait=LONG)) as answers:
        wait_until(lambda: redis_server.ask("ZCARD", LINE) == 1, "it to be in line")
        asked, began = calls(redis_server, "evalsha"), time.monotonic()
        pause(1.0)
        asked = calls(redis_server, "evalsha") - asked
        # A busy machine may pause for longer.
        assert asked <= 2 + (time.monotonic() - began) / OFTEN
        assert store.release(claim("wallet", "holder"))
        wait_until(lambda: answers, "the key to be had")
    assert isinstance(answers[0], Lease)
    assert guard.leave(answers[0])


def test_a_free_key_without_a_line_is_not_looked_at_all_the_time(store: RedisStore) -> None:
    """There is nobody to call: the next look can wait."""
    assert look(store, "wallet").again >= 1


def test_a_window_of_its_own(redis_url: str) -> None:
    """?claim_window= says how long a key is kept, in fractions of a second too."""
    with opened(f"{redis_url}?claim_window=0.05") as store:
        take(store, "wallet", "holder")
        joined(store, "wallet", "a")
        with hearing(store) as wake:
            assert store.release(claim("wallet", "holder"))
            assert wake().window == 0.05
        wait_until(lambda: isinstance(store.acquire(claim("wallet")), Lease), "the window to be over")
    with opened(redis_url, prefix="default:") as store:
        take(store, "wallet", "holder")
        joined(store, "wallet", "a")
        assert store.release(claim("wallet", "holder"))
        assert 0 < (refused(store, "wallet").remaining or 0) <= 2
