"""What Redis remembers of conflicts: of the keys with the most, and never more than so many."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores.redis import scripts
from celery_locks.stores.several import Several
from celery_locks.ticket import Stance, Ticket
from tests.commands import celery_locks
from tests.stores.contract.asking import claim, take
from tests.stores.contract.waiting import come, join, joined
from tests.stores.redis_stores import full, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis import RedisServer


SIZES = "LATEST_CONFLICTS, REMEMBERED, made = 1000, 10"


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(redis_url) as store:
        yield store


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three keys are remembered, and three conflicts of each."""
    for name in ("ACQUIRE", "ENTER", "ATTEND"):
        text = getattr(scripts, name).text
        text = text.replace(SIZES, SIZES.replace("1000, 10", "3, 3"))
        monkeypatch.setattr(scripts, name, scripts.Script(text, scripts.sha_of(text)))


def conflict(store: RedisStore, key: str, asker: str = "asker") -> None:
    assert not isinstance(store.acquire(claim(key, asker)), Lease)


def counts(store: RedisStore) -> dict[str, int]:
    return {tally.key: tally.conflicts for tally in store.most_contended()}


def test_a_key_that_nobody_else_wants_is_not_remembered(store: RedisStore, redis_server: RedisServer) -> None:
    """Nothing is written for it."""
    take(store, "wallet", "holder")
    assert store.release(claim("wallet", "holder"))
    assert store.most_contended() == []
    assert sorted(redis_server.ask("KEYS", "*")) == ["lock:{wallet}:fence"]


def test_a_conflict_is_counted_once(store: RedisStore) -> None:
    """However often the one that waits asks again; with who asked, who had it, and for how long."""
    take(store, "wal}let", "holder")
    tickets = joined(store, "wal}let", "a", "b")
    join(store, "wal}let", "a", tickets[0])
    conflict(store, "wal}let")
    assert counts(store) == {"wal}let": 3}
    latest, *others = store.conflicts("wal}let")
    assert (latest.asker, latest.holder, len(others)) == ("asker", "holder", 2)
    assert 0 <= latest.age < 60


def test_the_wait_of_one_that_gets_the_key_is_added(store: RedisStore) -> None:
    """From when it first found it taken."""
    take(store, "wallet", "holder")
    [ticket] = joined(store, "wallet", "a")
    assert store.release(claim("wallet", "holder"))
    date, _, name = ticket.partition("-")
    assert isinstance(come(store, "wallet", "a", f"{int(date) - 90_000_000:016}-{name}"), Lease)
    [tally] = store.most_contended()
    assert 90 <= tally.waited < 150


def waited(store: RedisStore) -> dict[str, float]:
    return {tally.key: tally.waited for tally in store.most_contended()}


def long_ago(ticket: str) -> str:
    """The same ticket, of one that came 90 seconds before."""
    date, _, name = ticket.partition("-")
    return f"{int(date) - 90_000_000:016}-{name}"


def test_the_wait_of_one_that_is_handed_the_key_is_added(store: RedisStore) -> None:
    """It waits in a slot, and never asks."""
    ticket = Ticket("a", Stance.WAITS_IF_NEXT, "0a1b2c3d", echo=3)
    heir = claim("wallet", "heir")._replace(ticket=ticket)
    take(store, "wallet", "holder")
    with contextlib.closing(store.listen("0a1b2c3d")):
        busy = store.acquire(heir)
        assert isinstance(busy, Busy)
        old = ticket._replace(name=long_ago(busy.ticket or ""))
        assert isinstance(store.acquire(heir._replace(ticket=old)), Busy)
        assert store.release(claim("wallet", "holder"))
        assert store.inspect("wallet").owner == "heir"
    assert 90 <= waited(store)["wallet"] < 150


def test_the_wait_of_one_that_takes_a_slot_is_added(store: RedisStore) -> None:
    """Beside others, or after them."""
    first, later = (claim("wallet", owner)._replace(slots=2) for owner in ("first", "later"))
    take(store, "wallet", "holder")
    busy = store.acquire(later._replace(ticket=Ticket("2.a", Stance.GOES)))
    assert isinstance(busy, Busy)
    assert store.release(claim("wallet", "holder"))
    ticket = Ticket(long_ago(busy.ticket or ""))
    assert isinstance(store.acquire(later._replace(ticket=ticket)), Lease)
    assert isinstance(store.acquire(first), Lease)
    assert 90 <= waited(store)["wallet"] < 150


def test_the_wait_of_one_that_takes_several_keys_is_added(store: RedisStore) -> None:
    """To the key in whose line it stood."""
    both = claim("purse", "both")._replace(others=("wallet",))
    take(store, "wallet", "holder")
    busy = Several(store).acquire(both._replace(ticket=Ticket("a", Stance.GOES)))
    assert isinstance(busy, Busy)
    assert store.release(claim("wallet", "holder"))
    lease = Several(store).acquire(both._replace(ticket=Ticket(long_ago(busy.ticket or ""))))
    assert isinstance(lease, Lease)
    assert 90 <= waited(store)["wallet"] < 150


@pytest.mark.usefixtures("few")
def test_no_more_than_so_many_keys_are_remembered(store: RedisStore, redis_server: RedisServer) -> None:
    """The one with the fewest makes room, with all that is known of it; one that becomes hot gets in."""
    for key, times in (("a", 5), ("b", 3), ("c", 1), ("d", 4), ("e", 1)):
        take(store, key, "holder")
        for number in range(times):
            conflict(store, key, f"asker {number}")
    # d took the place of c with its 1, and e that of b with its 3.
    assert counts(store) == {"a": 5, "d": 5, "e": 4}
    assert [each.asker for each in store.conflicts("a")] == ["asker 4", "asker 3", "asker 2"]
    assert store.conflicts("b") == store.conflicts("c") == []
    assert redis_server.ask("ZCARD", "lock:stats:{stats}:held") == 3


def test_what_is_remembered_ends(store: RedisStore, redis_server: RedisServer) -> None:
    """A week after the last conflict."""
    take(store, "wallet", "holder")
    [ticket] = joined(store, "wallet", "a")
    assert store.release(claim("wallet", "holder"))
    assert isinstance(come(store, "wallet", "a", ticket), Lease)
    names = [name for name in redis_server.ask("KEYS", "*") if "stats" in name or "conflicts" in name]
    assert len(names) == 4
    assert all(0 < redis_server.ask("PTTL", name) <= 604_800_000 for name in names)


def test_a_full_server_remembers_nothing_and_answers_as_ever(store: RedisStore, redis_server: RedisServer) -> None:
    """The answer is that the key is taken."""
    take(store, "wallet", "holder")
    with full(redis_server):
        busy = store.acquire(claim("wallet", "asker"))
    assert busy.holder == "holder"
    assert store.most_contended() == []


def test_something_else_under_its_names_does_no_harm(store: RedisStore, redis_server: RedisServer) -> None:
    """Whoever wrote it: locks go on."""
    take(store, "wallet", "holder")
    for name in ("lock:{wallet}:conflicts", "lock:stats:{stats}:held", "lock:stats:{stats}:waited"):
        redis_server.ask("SET", name, "mine")
    [ticket] = joined(store, "wallet", "a")
    assert store.release(claim("wallet", "holder"))
    assert isinstance(come(store, "wallet", "a", ticket), Lease)
    redis_server.ask("SET", "lock:stats:{stats}:count", "mine")
    conflict(store, "wallet")


def test_slots_are_counted_too(store: RedisStore) -> None:
    """A key that several may hold, and all of them do."""
    for number in range(2):
        assert isinstance(store.acquire(Claim("room", f"owner {number}", 30.0, slots=2)), Lease)
    assert not isinstance(store.acquire(Claim("room", "third", 30.0, slots=2)), Lease)
    assert counts(store) == {"room": 1}


def test_the_command_line_shows_them(store: RedisStore, redis_url: str) -> None:
    """The most contended keys, and the latest conflicts of one; what is not remembered is a note."""
    assert "no key is remembered" in celery_locks(redis_url, "stats").err
    take(store, "wallet", "shop.pay[1]@web1:4711#0a")
    conflict(store, "wallet", "shop.pay[2]@web2:4711#0b")
    ended = celery_locks(redis_url, "stats")
    assert (ended.code, ended.out.split()) == (
        0,
        ["KEY", "CONFLICTS", "WAITED", "EACH", "HELD", "wallet", "1", "0.0s", "-", ended.out.split()[-1]],
    )
    [said] = celery_locks(redis_url, "stats", "--json").said
    assert (said["key"], said["conflicts"]) == ("wallet", 1)
    shown = celery_locks(redis_url, "show", "wallet").out
    assert "shop.pay[2]@web2:4711" in shown
    [conflict_told] = celery_locks(redis_url, "show", "wallet", "--json").said[0]["conflicts"]
    assert (conflict_told["asker"], conflict_told["holder"]) == ("shop.pay[2]@web2:4711#0b", "shop.pay[1]@web1:4711#0a")
    assert celery_locks("memory://", "stats").code == 4
