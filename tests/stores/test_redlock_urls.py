"""What a redlock:// URL may say, and what it is told when it says it wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.stores import open_store
from celery_locks.stores.redlock.address import parse
from tests.servers.missing import require
from tests.servers.programs import OPENSSL, REDIS
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim, take

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def guarded() -> Iterator[list[RedisServer]]:
    """Three nodes that speak TLS only, each with a password of its own."""
    require(REDIS, OPENSSL)
    servers = [RedisServer(tls=True, password=f"pass,word{number}") for number in range(3)]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.close()


def _guarded_url(servers: list[RedisServer], *passwords: str) -> str:
    logins = [*passwords, *[""] * 3]
    hosts = ",".join(f"{login}127.0.0.1:{server.port}" for login, server in zip(logins, servers, strict=False))
    # Each has a certificate of its own, so that no one file would do for all.
    return f"redlocks://{hosts}/3?ssl_cert_reqs=none"


def test_each_node_has_its_password_and_tls(guarded: list[RedisServer]) -> None:
    """Logins, TLS and the database are those of the URL, node by node."""
    passwords = [f":pass%2Cword{number}@" for number in range(3)]
    store = open_store(_guarded_url(guarded, *passwords))
    lease = take(store, "wallet")
    assert store.release(lease.claim)
    store.close()
    for server in guarded:
        with server.client(ssl_ca_certs=server.certificate, db=3) as client:
            assert client.exists("lock:{wallet}:fence") in (0, 1)
            assert client.info("keyspace").keys() <= {"db3"}


def test_a_wrong_password_is_told_without_it(guarded: list[RedisServer]) -> None:
    """One login in front is for all nodes; where it is wrong the error says so and shows no password."""
    store = open_store(_guarded_url(guarded, ":secret@"))
    with pytest.raises(StoreUnavailable, match=r"password is wrong|WRONGPASS|invalid") as raised:
        store.acquire(claim("wallet"))
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(store)
    store.close()


def test_an_untrusted_certificate_is_told(guarded: list[RedisServer]) -> None:
    """Certificates are checked unless the URL says otherwise."""
    store = open_store(_guarded_url(guarded, ":x@").replace("?ssl_cert_reqs=none", ""))
    with pytest.raises(StoreUnavailable, match="ssl_ca_certs"):
        store.acquire(claim("wallet"))
    store.close()


def test_tls_at_a_plain_server_is_told(redlock_url: str) -> None:
    """A TLS greeting that a plain server hangs up on is an outage with a remedy, within the timeout."""
    store = open_store(redlock_url.replace("redlock://", "redlocks://") + "?socket_timeout=0.5")
    with pytest.raises(StoreUnavailable, match="did not answer"):
        store.acquire(claim("wallet"))
    store.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redlock://", "name"),
        ("redlock://a", "at least 3"),
        ("redlock://a,b", "with 2 of them the loss of any one stops all locks"),
        ("redlock://a,b,c,a", "a:6379 twice"),
        ("redlock://a,b,c:6379,C", "c:6379 twice"),
        ("redlock://localhost:1,127.0.0.1:1,c", "twice"),
        ("redlock://a,b,,c", "does not name nodes"),
        ("redlock://a,b,c:port", "does not name nodes"),
        ("redlock://a,b,c/x", "does not name nodes"),
        ("redlock://a,b,c?restart_delay=soon", "restart_delay must be seconds from 0 to 86400, not 'soon'"),
        ("redlock://a,b,c?restart_delay=-1", "restart_delay must be seconds"),
        ("redlock://a,b,c?socket_timeout=0", "socket_timeout must be seconds"),
        ("redlock://a,b,c?socket_timeout=nan", "socket_timeout must be seconds"),
        ("redlock://a,b,c?fence_retention=0", "fence_retention must be seconds"),
        ("redlock://a,b,c?socket_timeuot=1", "unknown setting socket_timeuot; known are socket_timeout"),
        ("redlocks://a,b,c?ssl_ca_certs=/nowhere.pem", "there is no file /nowhere.pem"),
        ("redlocks://a,b,c?ssl_keyfile=/etc/hosts", "ssl_keyfile needs its ssl_certfile"),
        ("redlocks://a,b,c?ssl_cert_reqs=maybe", "ssl_cert_reqs must be required or none, not 'maybe'"),
    ],
)
def test_a_mistake_is_told(url: str, told: str) -> None:
    """In one line, with what to write, when the store is opened."""
    with pytest.raises(LockConfigError, match=told) as raised:
        open_store(url)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["redlock://:pa/ss@a,b,c", "redlock://:pa?ss@a,b,c", "redlock://u:pa,ss@a,b,c", "redlock://:pass@a,b"]
)
def test_a_mistake_shows_no_password(url: str) -> None:
    """Wherever the password ends because a sign in it is not written as it should be."""
    with pytest.raises(LockConfigError) as raised:
        open_store(url)
    assert "pa" not in str(raised.value).replace("password", "")
    assert "ss" not in str(raised.value).replace("password", "").replace("loss", "")


def test_what_a_url_says() -> None:
    """Ports, databases and logins: one in front is for all that have none of their own."""
    address = parse("redlock://user:p%40@a:1,b,:own@[::1]:3/2?restart_delay=30", {"socket_timeout": 1})
    assert [str(place) for place in address.places] == ["a:1", "b:6379", "[::1]:3"]
    assert [place.login for place in address.places] == [("user", "p@"), ("user", "p@"), ("own",)]
    assert {place.database for place in address.places} == {2}
    assert address.seconds == {"socket_timeout": 1.0, "restart_delay": 30.0, "fence_retention": 172_800.0}
    assert address.shown == "redlock://a:1,b:6379,[::1]:3"


def test_nothing_connects_before_the_first_verb() -> None:
    """A store whose nodes are not there can be opened."""
    store = open_store("redlock://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3")
    with pytest.raises(StoreUnavailable, match=r"127.0.0.1:1 did not answer .*refused.*check that the server runs"):
        store.acquire(claim("wallet"))
    store.close()
