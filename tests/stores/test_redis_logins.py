"""Passwords and rights: what is missing is said, what is secret is not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Verdict
from celery_locks.stores import open_store
from celery_locks.stores.redis import RedisStore
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.redis_sayings import SECRET, is_one_clean_line, unclosed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server with a password, and users who may do less and more."""
    with RedisServer(password=SECRET) as server:
        rights = ["+eval", "+evalsha", "+get", "+set", "+del", "+rename", "+pexpire", "+pttl", "+time", "+scan"]
        server.ask("ACL", "SETUSER", "just", "on", ">enough", "~lock:*", *rights)
        server.ask("ACL", "SETUSER", "reader", "on", ">enough", "~*", "+get", "+ping")
        server.ask("ACL", "SETUSER", "stranger", "on", ">enough", "~other:*", "+@all")
        yield server


LOGINS = {
    "": "wants a password: write redis://:password@host",
    ":wr0ng@": "password is wrong",
    "nobody:wr0ng@": "password is wrong",
    "reader:enough@": "this user may not do that: give it \\+eval",
    "stranger:enough@": "this user may not do that",
}


@pytest.mark.parametrize(("login", "said"), LOGINS.items())
def test_a_login_that_does_not_do_is_said(guarded: RedisServer, login: str, said: str) -> None:
    """Each is an outage, not a lock, and what was wrong is said without the password."""
    with contextlib.closing(open_store(f"redis://{login}127.0.0.1:{guarded.port}/0")) as store:
        with pytest.raises(StoreUnavailable, match=said) as caught:
            store.acquire(claim("wallet"))
        is_one_clean_line(caught.value, "wr0ng", "enough")
    assert guarded.ask("KEYS", "*") == []


def test_a_password_is_percent_decoded(guarded: RedisServer) -> None:
    """What had to be encoded in a URL reaches the server as it is."""
    guarded.ask("ACL", "SETUSER", "odd@user", "on", ">p/?#@:% ss", "~*", "+@all")
    url = f"redis://odd%40user:p%2F%3F%23%40%3A%25%20ss@127.0.0.1:{guarded.port}/0"
    with contextlib.closing(open_store(url)) as store:
        take(store, "wallet")
        assert store.release(claim("wallet"))
    guarded.flush()


def test_a_password_may_be_asked_for_in_the_query(guarded: RedisServer, tmp_path: Path) -> None:
    """unix:///path?password=... as redis-py has it; it is shown nowhere."""
    with contextlib.closing(open_store(f"unix://{guarded.socket}?password={SECRET}")) as store:
        take(store, "wallet")
        assert store.release(claim("wallet"))
    guarded.flush()
    with unclosed(), contextlib.closing(open_store(f"unix://{tmp_path}/none.sock?password={SECRET}")) as store:
        with pytest.raises(StoreUnavailable) as caught:
            store.acquire(claim("wallet"))
        is_one_clean_line(caught.value)


def test_a_password_where_none_is_wanted_is_said(redis_server: RedisServer) -> None:
    """A server without a password is told one."""
    with contextlib.closing(open_store(f"redis://:{SECRET}@127.0.0.1:{redis_server.port}/0")) as store:
        with pytest.raises(StoreUnavailable, match="wants no password") as caught:
            store.acquire(claim("wallet"))
        is_one_clean_line(caught.value)


def test_the_rights_that_are_asked_for_are_enough(guarded: RedisServer) -> None:
    """A user with the rights that the message names can do all there is to do."""
    with contextlib.closing(open_store(f"redis://just:enough@127.0.0.1:{guarded.port}/0")) as store:
        assert isinstance(store, RedisStore)
        lease = take(store, "wallet")
        assert verdict(store, lease) is Verdict.RENEWED
        assert store.inspect("wallet") is not None
        assert len(list(store.list())) == 1
        guarded.ask("CONFIG", "SET", "maxmemory", 1)
        assert store.release(lease.claim)
        guarded.ask("CONFIG", "SET", "maxmemory", 0)
        take(store, "wallet", "ben")
        assert store.force_release("wallet")
    guarded.flush()
