"""Who waits in a process is told where that process listens, and passed over as soon as it hears no more."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks import hearing as hearing_room
from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores.base import Waiting
from celery_locks.ticket import Stance, Ticket, undated
from celery_locks.waker import Waker
from tests.stores.contract.asking import claim, take
from tests.stores.contract.waiting import ask, come, heard_from, hearing, join, look, passed
from tests.stores.redis_stores import opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis import RedisServer

KEY, HOME, OTHER = "wallet:42", "0a1b2c3d", "4e5f6071"
LINE, HOMES = f"lock:{{{KEY}}}:line", f"lock:{{{KEY}}}:homes"


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(f"{redis_url}?claim_window=60") as store:
        yield store


def _gone(server: RedisServer, home: str = HOME) -> None:
    with server.client() as client:
        channel = f"lock:wake:{home}"
        wait_until(lambda: client.pubsub_numsub(channel) == [(channel, 0)], "the listener to be gone")


def _attend(store: RedisStore, *names: str, home: str = HOME) -> list[str]:
    """These wait in a process; their dated tickets."""
    looks = store.attend([Waiting(KEY, name) for name in names], home)
    return [look.busy.ticket or "" for look in looks if look and look.busy]


def _released(store: RedisStore) -> str:
    """Whom a release calls where wakes are heard that have no home."""
    with hearing(store) as wake:
        assert store.release(claim(KEY, "holder"))
        return undated(wake().ticket)


def _in_slot(store: RedisStore, name: str, stance: Stance, ticket: str = "", home: str = HOME) -> Busy:
    answer = store.acquire(Claim(KEY, f"owner {name}", 30.0, ticket=Ticket(ticket or name, stance, home)))
    assert isinstance(answer, Busy)
    return answer


def test_a_process_is_told_on_a_channel_of_its_own(store: RedisStore) -> None:
    """Nobody else wakes for it."""
    take(store, KEY, "holder")
    with hearing(store) as anybody, contextlib.closing(store.listen(HOME)) as listening:
        _attend(store, "a")
        join(store, KEY, "b")
        assert store.release(claim(KEY, "holder"))
        assert undated(heard_from(listening).ticket) == "a"
        assert store.release(come(store, KEY, "a").claim)
        assert undated(anybody().ticket) == "b"


def test_one_that_waits_in_a_slot_is_told_there(store: RedisStore) -> None:
    """The main process kept it at its door; it waits in a pool process now."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)), contextlib.closing(store.listen(OTHER)) as slot:
        ticket = _attend(store, "a")[0]
        assert _in_slot(store, "a", Stance.WAITS_IF_NEXT, ticket, OTHER).present
        assert store.release(claim(KEY, "holder"))
        assert heard_from(slot).ticket == ticket


def test_whoever_is_in_a_slot_is_told_there_whatever_comes_late(store: RedisStore, redis_server: RedisServer) -> None:
    """The main process says that it has the job when that has left it; it counts again once the slot is gone."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)) as parent:
        with contextlib.closing(store.listen(OTHER)) as slot:
            ticket = _attend(store, "a")[0]
            assert _in_slot(store, "a", Stance.WAITS_IF_NEXT, ticket, OTHER).present
            _attend(store, "a")
            assert store.release(claim(KEY, "holder"))
            assert heard_from(slot).ticket == ticket
            assert _in_slot(store, "b", Stance.WAITS, home=OTHER).present
            lease = come(store, KEY, "a", ticket)
        _gone(redis_server, OTHER)
        _attend(store, "b")
        assert store.release(lease.claim)
        assert undated(heard_from(parent).ticket) == "b"


def test_one_whose_process_is_gone_costs_nobody_a_claim_window(store: RedisStore, redis_server: RedisServer) -> None:
    """A thousand are passed over in one step, and the next who can come is called."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)):
        _attend(store, *(f"{number:04}" for number in range(1050)))
        join(store, KEY, "b")
    _gone(redis_server)
    assert _released(store) == "b"


def test_those_whose_process_is_gone_come_back_to_their_places(store: RedisStore, redis_server: RedisServer) -> None:
    """Their messages are delivered again as they were, without a date, to another process."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)):
        _attend(store, "a", "c")
        join(store, KEY, "z")
    _gone(redis_server)
    assert _released(store) == "z"
    lease = come(store, KEY, "z")
    join(store, KEY, "late")
    with contextlib.closing(store.listen(OTHER)) as listening:
        _attend(store, "c", "a", home=OTHER)
        for name in "ac":
            assert store.release(lease.claim)
            assert undated(heard_from(listening).ticket) == name
            lease = come(store, KEY, name)


def test_those_who_come_back_overtake_nobody(store: RedisStore, redis_server: RedisServer) -> None:
    """Also not by as much as the half second for which one is waited for that left for its queue."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)), redis_server.client() as client:
        _attend(store, "c", "d")
        dates = client.zrange(LINE, 0, -1, withscores=True)
        passed(0.6)
    _gone(redis_server)
    assert store.release(claim(KEY, "holder"))
    take(store, KEY, "another")
    with contextlib.closing(store.listen(OTHER)), redis_server.client() as client:
        _attend(store, "d", "c", home=OTHER)
        assert client.zrange(LINE, 0, -1, withscores=True) == dates


def test_those_who_never_come_back_are_forgotten(store: RedisStore, redis_server: RedisServer) -> None:
    """As plain code that was killed while it waited: an hour after, when the next of them is passed over."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)), redis_server.client() as client:
        _attend(store, "a")
        client.zadd(LINE, {"dead": 4e15 + time.time() * 1e6 - 3_601e6, "away": 4e15 + time.time() * 1e6 - 3_500e6})
    _gone(redis_server)
    assert store.release(claim(KEY, "holder"))
    with redis_server.client() as client:
        assert set(client.zrange(LINE, 0, -1)) == {"a", "away"}


def test_a_line_of_the_dead_leaves_the_key_free(store: RedisStore, redis_server: RedisServer) -> None:
    """Whoever asks next has it."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)):
        _attend(store, "a")
    _gone(redis_server)
    assert store.release(claim(KEY, "holder"))
    assert isinstance(ask(store, KEY, "b"), Lease)


def test_whoever_asks_is_there(store: RedisStore) -> None:
    """One that is deaf for a moment, and asks or attends itself, does not lose its turn by that."""
    take(store, KEY, "holder")
    ticket, _ = _attend(store, "a", "b")
    assert store.force_release(KEY)
    assert look(store, KEY, ticket).turn
    assert isinstance(ask(store, KEY, "a", ticket), Lease)


def test_one_that_was_passed_over_comes_back_to_its_place(store: RedisStore) -> None:
    """Its connection broke and is made again: it attends with the date it had."""
    take(store, KEY, "holder")
    ticket = _attend(store, "a")[0]
    join(store, KEY, "b")
    assert _released(store) == "b"
    lease = come(store, KEY, "b")
    with contextlib.closing(store.listen(HOME)) as listening:
        join(store, KEY, "c")
        store.attend([Waiting(KEY, ticket)], HOME)
        assert store.release(lease.claim)
        assert heard_from(listening).ticket == ticket


def test_one_that_goes_back_to_a_queue_has_no_home(store: RedisStore, redis_server: RedisServer) -> None:
    """Its message may come to any process."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)):
        ticket = _attend(store, "a")[0]
        away = _in_slot(store, "a", Stance.GOES, ticket)
    assert (away.ticket, away.present) == (ticket, False)
    with redis_server.client() as client:
        assert client.hgetall(HOMES) == {}
    assert _released(store) == "a"


@pytest.fixture
def hasty(redis_url: str) -> Iterator[RedisStore]:
    """A store that soon passes over whoever does not come."""
    with opened(f"{redis_url}?claim_window=0.2") as store:
        yield store


@pytest.fixture
def wakers(hasty: RedisStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Waker]]:
    """Two that do not listen for longer than somebody waits, as of two processes."""
    monkeypatch.setattr(hearing_room, "IDLE", 0.0)
    monkeypatch.setattr(hearing_room, "PATIENCE", 0.1)
    made = [Waker(hasty), Waker(hasty)]
    yield made
    for waker in made:
        waker.all_forgotten()
    wait_until(lambda: not any(waker.hears() for waker in made), "nobody to listen")


def test_one_that_does_not_come_is_passed_over_elsewhere(
    hasty: RedisStore, redis_server: RedisServer, wakers: list[Waker]
) -> None:
    """It alone was told. Another process looks in time, for however long the holder's lease would have lasted."""
    called: list[str] = []
    take(hasty, KEY, "holder")
    with redis_server.client() as client:
        for number, waker in enumerate(wakers, 1):
            waker.wait(Waiting(KEY, f"{number}"), lambda ticket: called.append(undated(ticket)))
            wait_until(lambda most=number: client.hlen(HOMES) == most, f"{number} to have a home")
        assert hasty.release(claim(KEY, "holder"))
        wait_until(lambda: called[:2] == ["1", "2"], "the next to be called")


def test_one_that_goes_away_without_its_date_has_no_home(store: RedisStore, redis_server: RedisServer) -> None:
    """Its time was over before the worker knew where in line it stands."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)), redis_server.client() as client:
        ticket = _attend(store, "a")[0]
        assert _in_slot(store, "a", Stance.GOES).ticket == ticket
        assert not client.exists(HOMES)


def test_nothing_is_kept_of_those_who_wait_no_more(store: RedisStore, redis_server: RedisServer) -> None:
    """One has taken the key, one has left, one gave up, and one was called and did not come."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)), redis_server.client() as client:
        tickets = dict(zip("abcd", _attend(store, *"abcd"), strict=True))
        assert set(client.hgetall(HOMES)) == set("abcd")
        assert 0 < client.pttl(HOMES) <= 86_400_000
        assert store.release(claim(KEY, "holder"))
        lease = come(store, KEY, "a", tickets["a"])
        store.leave([Waiting(KEY, tickets["b"])])
        assert not store.release(Claim(KEY, "owner c", 30.0, ticket=Ticket(tickets["c"])))
        assert store.release(lease.claim)
        client.delete(f"lock:{{{KEY}}}")
        assert not look(store, KEY).turn
        assert not client.exists(HOMES, LINE)
