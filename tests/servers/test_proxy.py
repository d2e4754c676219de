"""Each fault the proxy can make, seen by a Redis client. A lost, a cut and a late answer are three different things."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, TypeAlias

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.process import HOST
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer

Client: TypeAlias = redis.Redis


@pytest.fixture
def through(proxy: Callable[[str], Proxy], redis_url: str) -> Proxy:
    return proxy(redis_url)


@pytest.fixture
def client(through: Proxy) -> Iterator[Client]:
    """A client that gives up after half a second and never tries again by itself."""
    never = Retry(NoBackoff(), 0)
    patient = redis.Redis.from_url(through.url, socket_timeout=0.5, retry=never, retry_on_timeout=False)
    with contextlib.closing(patient) as client:
        assert client.ping()
        yield client


def test_a_sound_proxy_changes_nothing(client: Client, redis_server: RedisServer) -> None:
    """Without a fault, what is written through the proxy is on the server."""
    client.set("key", b"x" * 1_000_000)
    assert client.get("key") == b"x" * 1_000_000
    assert redis_server.ask("STRLEN", "key") == 1_000_000


def test_a_password_goes_through(proxy: Callable[[str], Proxy]) -> None:
    """The proxy's URL is the server's with another address."""
    through = proxy("rediss://:secret@127.0.0.1:1/3?x=y")
    assert through.url == f"rediss://:secret@127.0.0.1:{through.port}/3?x=y"


def test_a_delay_makes_an_answer_late(client: Client, through: Proxy) -> None:
    """Delayed answers arrive, no sooner than the delay."""
    through.delay(0.2, "answers")
    began = time.monotonic()
    assert client.ping()
    assert time.monotonic() - began >= 0.2


def test_a_delay_longer_than_the_patience_is_a_timeout(
    client: Client, through: Proxy, redis_server: RedisServer
) -> None:
    """When an answer comes too late the client times out, and the request was carried out."""
    through.delay(1, "answers")
    with pytest.raises(redis.TimeoutError):
        client.set("key", "value")
    assert redis_server.ask("GET", "key") == "value"


def test_a_held_request_is_carried_out_after_the_client_gave_up(
    client: Client, through: Proxy, redis_server: RedisServer
) -> None:
    """A request the network kept reaches the server later, though its client timed out and closed."""
    through.hold("requests")
    with pytest.raises(redis.TimeoutError):
        client.set("key", "value")
    client.close()
    assert b"key" in through.waiting("requests")
    assert redis_server.ask("GET", "key") is None
    through.let_go()
    wait_until(lambda: redis_server.ask("GET", "key") == "value", "the held request to arrive")


def test_held_answers_are_kept_in_order(client: Client, through: Proxy) -> None:
    """Answers that were held come all, in order, once they are let go."""
    through.hold("answers")
    with client.pipeline(transaction=False) as many:
        many.set("a", 1)
        many.get("a")
        with pytest.raises(redis.TimeoutError):
            many.execute()
    assert through.waiting("answers") == b"+OK\r\n$1\r\n1\r\n"
    through.let_go()
    assert client.get("a") == b"1"


def test_a_lost_answer_is_a_timeout_and_the_request_went_through(
    client: Client, through: Proxy, redis_server: RedisServer
) -> None:
    """Of a lost answer the client sees nothing until it gives up; the server did what was asked."""
    through.lose_answer(to=b"SET")
    with pytest.raises(redis.TimeoutError):
        client.set("key", "value")
    assert redis_server.ask("GET", "key") == "value"
    assert client.get("key") == b"value"


def test_a_cut_answer_is_a_reset_and_the_request_went_through(
    client: Client, through: Proxy, redis_server: RedisServer
) -> None:
    """A cut answer is a connection error at once; the server did what was asked."""
    through.cut_answer(to=b"SET")
    with pytest.raises(redis.ConnectionError):
        client.set("key", "value")
    assert redis_server.ask("GET", "key") == "value"


def test_a_doomed_answer_waits_for_its_request(client: Client, through: Proxy) -> None:
    """Only the request that was named loses its answer, and only once."""
    through.cut_answer(to=b"SET")
    assert client.get("key") is None
    with pytest.raises(redis.ConnectionError):
        client.set("key", "value")
    assert client.set("key", "value")


def test_a_cut_connection_is_an_error_and_a_new_one_works(client: Client, through: Proxy) -> None:
    """A cut ends open connections; the next connection is sound."""
    with client.client() as one:
        assert one.ping()
        through.cut()
        with pytest.raises(redis.ConnectionError):
            one.ping()
    assert client.ping()


def test_a_cut_is_a_reset_and_no_orderly_end(through: Proxy) -> None:
    """After a cut the client's socket reports a reset, not the end of the stream."""
    with socket.create_connection((HOST, through.port), timeout=5) as raw:
        raw.sendall(b"PING\r\n")
        assert raw.recv(64) == b"+PONG\r\n"
        through.cut()
        with pytest.raises(ConnectionResetError):
            raw.recv(64)


def test_a_refusing_server_is_an_error_at_once(client: Client, through: Proxy) -> None:
    """Refused connections fail at once, until they are accepted again on the same port."""
    through.refuse()
    began = time.monotonic()
    with pytest.raises(redis.ConnectionError):
        client.ping()
    assert time.monotonic() - began < 0.5
    through.accept()
    assert client.ping()


def test_a_hanging_server_takes_a_connection_and_says_nothing(client: Client, through: Proxy) -> None:
    """A server that hangs is a timeout for old and new connections."""
    through.hang()
    with pytest.raises(redis.TimeoutError):
        client.ping()
    client.close()
    with pytest.raises(redis.TimeoutError):
        client.ping()


def test_heal_ends_every_fault(client: Client, through: Proxy) -> None:
    """After heal nothing is delayed, held, refused or doomed."""
    through.delay(5)
    through.hang()
    through.cut_answer()
    through.refuse()
    through.heal()
    assert client.ping()


def test_a_server_that_is_gone_is_a_connection_error(client: Client, redis_server: RedisServer) -> None:
    """When the server behind the proxy is dead, so is the client's connection; both work again together."""
    redis_server.kill()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.ping()
    redis_server.heal()
    assert client.ping()
