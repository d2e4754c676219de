"""What somebody else keeps in the same Redis, and names of every kind."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.lease import Busy, Lease, Verdict
from celery_locks.stores import open_store
from celery_locks.stores.redis import RedisStore
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.redis_stores import FENCE, LOCK, dump, give_up, kept, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.servers.redis import RedisServer


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(redis_url) as store:
        yield store


FOREIGN = {"list": ("RPUSH", "a"), "hash": ("HSET", "a", "b"), "set": ("SADD", "a")}


@pytest.fixture(params=FOREIGN)
def foreign(request: pytest.FixtureRequest) -> Sequence[str]:
    return FOREIGN[request.param]


def test_something_else_under_a_locks_name_stays(
    store: RedisStore, redis_server: RedisServer, foreign: Sequence[str]
) -> None:
    """It is never overwritten nor removed; each verb says so or says no, and other keys are as ever."""
    mine = take(store, "mine")
    redis_server.ask(foreign[0], LOCK, *foreign[1:])
    before = dump(redis_server, LOCK)
    for verb in (lambda: store.acquire(claim("wallet")), lambda: store.force_release("wallet")):
        with pytest.raises(StoreUnavailable, match="something else is kept under this name"):
            verb()
    ghost = Lease(claim("wallet"), 1, None)
    assert store.renew([ghost, mine]) == [Verdict.LOST, Verdict.RENEWED]
    assert not store.release(claim("wallet"))
    assert store.inspect("wallet") is None
    assert [holding.key for holding in store.list()] == ["mine"]
    assert dump(redis_server, LOCK) == before
    assert redis_server.ask("EXISTS", FENCE) == 0


def test_something_else_under_a_fences_name_stays(
    store: RedisStore, redis_server: RedisServer, foreign: Sequence[str]
) -> None:
    """No lock is given whose fence could not be remembered."""
    redis_server.ask(foreign[0], FENCE, *foreign[1:])
    before = dump(redis_server, FENCE)
    with pytest.raises(StoreUnavailable, match="something else is kept under this name"):
        store.acquire(claim("wallet"))
    assert not store.release(claim("wallet"))
    give_up(store, "anna")
    assert dump(redis_server, FENCE) == before
    assert redis_server.ask("EXISTS", LOCK) == 0


@pytest.mark.parametrize("text", ["", "hello", "12", ":", "a:b", "-5:x", "1.5:x", "\x00\x00"])
def test_a_strange_text_under_a_locks_name_is_a_holder(store: RedisStore, redis_server: RedisServer, text: str) -> None:
    """Another program's lock is respected: taken, shown by what is written, neither renewed nor released by us."""
    redis_server.ask("SET", LOCK, text)
    assert refused(store, "wallet", "anna") == Busy(text)
    assert verdict(store, Lease(claim("wallet"), 1, None)) is Verdict.LOST
    assert not store.release(claim("wallet"))
    holding = store.inspect("wallet")
    assert holding is not None
    assert (holding.owner, holding.fence, holding.remaining) == (text, 0, None)
    assert redis_server.ask("GET", LOCK) == text
    assert store.force_release("wallet")
    take(store, "wallet")


def test_bytes_that_are_no_text_are_a_holder(store: RedisStore, redis_server: RedisServer) -> None:
    """What cannot be read is still taken."""
    with redis_server.client(decode_responses=False) as client:
        client.set(LOCK, b"\xff\xfe\x00", px=5000)
        client.set(b"lock:{\xff}", b"\xff")
    busy = refused(store, "wallet")
    assert busy.holder
    assert busy.remaining is not None
    assert 0 < busy.remaining <= 5
    assert len(list(store.list())) == 2


def test_a_strange_text_under_a_fences_name_stays(store: RedisStore, redis_server: RedisServer) -> None:
    """What does not read as a fence is not replaced by one."""
    redis_server.ask("SET", FENCE, "hello")
    with pytest.raises(StoreUnavailable, match="something else is kept under this name"):
        store.acquire(claim("wallet"))
    give_up(store, "anna")
    assert not store.release(claim("wallet"))
    assert kept(redis_server) == {FENCE: "hello"}


@pytest.mark.parametrize("prefix", ["", "bank:", "a{b}:", "100%:", "[x]*?\\:", "}{"])
@pytest.mark.parametrize("key", ["wallet", "{wallet}", "a}b", "%7D", "100%", "*", "a\\b", "[ab]", "?"])
def test_any_prefix_and_key_are_kept_and_shown(redis_url: str, prefix: str, key: str) -> None:
    """Braces, percent signs and glob characters in prefix and key come back as they were given."""
    with contextlib.closing(open_store(redis_url, prefix=prefix)) as store:
        assert isinstance(store, RedisStore)
        take(store, key)
        take(store, f"{key}.")
        assert sorted(holding.key for holding in store.list()) == sorted([key, f"{key}."])
        assert store.release(claim(key))
        assert [holding.key for holding in store.list()] == [f"{key}."]


def test_a_key_that_looks_like_a_fence_is_a_key(store: RedisStore) -> None:
    """No key's lock is another key's fence."""
    lease = take(store, "wallet")
    for odd in ("wallet}:fence", "wallet:fence", "{wallet}:fence"):
        take(store, odd)
    assert verdict(store, lease) is Verdict.RENEWED


def test_an_owner_or_pattern_that_is_no_text_is_a_mistake(store: RedisStore) -> None:
    """Half a character, as JSON can carry it, cannot be written: each verb says so, and the store works on."""
    half = "anna\ud800"
    for verb in (
        lambda: store.acquire(claim("wallet", half)),
        lambda: store.renew([Lease(claim("wallet", half), 1, None)]),
        lambda: store.release(claim("wallet", half)),
        lambda: list(store.list(half)),
    ):
        with pytest.raises(LockConfigError, match="owner or pattern cannot be written as UTF-8"):
            verb()
    take(store, "wallet")
