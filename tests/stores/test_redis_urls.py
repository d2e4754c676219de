"""A mistake in a Redis URL is found when the store is opened."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import LockConfigError
from celery_locks.stores import open_store
from tests.stores.contract.asking import claim, take
from tests.stores.redis_sayings import SECRET, is_one_clean_line

if TYPE_CHECKING:
    from tests.servers.redis import RedisServer

MALFORMED = {
    "no host": ("redis://:6379/0", "is no host:port"),
    "no host after a login": ("redis://user:s3cr3t@:6379/0", "%2F"),
    "a port that is no number": ("redis://host:port/0", "'host:port' is no host:port"),
    "a port too high": ("redis://host:65536/0", "is no host:port"),
    "port 0": ("redis://host:0/0", "is no host:port"),
    "a negative port": ("redis://host:-1/0", "is no host:port"),
    "a space in a host": ("redis://one two:6379/0", "is no host:port"),
    "an open bracket": ("redis://[::1:6379/0", "is no host:port"),
    "a comma too many": ("redis+sentinel://a,,b/mymaster", "is no host:port"),
    "a slash in the password": ("redis://:s3cr3t/x@host:6379/0", "%2F"),
    "a question mark in the password": ("redis://:s3cr3t?x@host:6379/0", "%2F"),
    "a slash and a user": ("redis://s3cr3t/x@host/0", "%2F"),
    "a database by name": ("redis://host:6379/locks", "the database must be a number from 0 up, not 'locks'"),
    "a negative database": ("redis://host:6379/-1", "the database must be a number"),
    "two databases": ("redis://host:6379/0/1", "the database must be a number"),
    "an odd digit": ("redis://host:6379/²", "the database must be a number"),
    "a database by name, asked": ("redis://host?db=locks", "db=locks"),
    "a negative database, asked": ("redis://host?db=-1", "number from 0 up"),
    "several hosts": ("redis://:s3cr3t@a:6379,b:6379/0", "use redis\\+sentinel:// or redis\\+cluster://"),
    "a timeout in words": ("redis://host?socket_timeout=abc", "socket_timeout=abc"),
    "a timeout of nothing": ("redis://host?socket_timeout=", "socket_timeout"),
    "a timeout of 0": ("redis://host?socket_timeout=0", "socket_timeout must be seconds above 0"),
    "a negative timeout": ("redis://host?socket_connect_timeout=-1", "socket_connect_timeout must be seconds above 0"),
    "an endless timeout": ("redis://host?socket_timeout=inf", "socket_timeout must be seconds above 0"),
    "an unknown setting": ("redis://host?socket_timout=1", "socket_timout"),
    "an unknown setting of a cluster": ("redis+cluster://host?socket_timout=1", "socket_timout"),
    "an unknown setting of a sentinel": ("redis+sentinel://host/m?socket_timout=1", "socket_timout"),
    "a setting that is an object": ("redis://host?retry=3", "retry cannot be written in a URL"),
    "a password misspelt": ("redis://host?pasword=s3cr3t", "pasword"),
    "a retention in words": ("redis://:s3cr3t@host?fence_retention=abc", "fence_retention must be seconds above 0"),
    "no retention": ("redis://host?fence_retention=0", "fence_retention must be seconds above 0"),
    "a negative retention": ("redis://host?fence_retention=-5", "fence_retention must be seconds above 0"),
    "a retention for ever": ("redis://host?fence_retention=inf", "fence_retention must be seconds above 0"),
    "a retention that is no number": ("redis://host?fence_retention=nan", "fence_retention must be seconds above 0"),
    "a window in words": (
        "redis://:s3cr3t@host?claim_window=abc",
        "claim_window must be seconds above 0 and at most an",
    ),
    "no window": ("redis://host?claim_window=0", "claim_window must be seconds above 0"),
    "a window of a day": ("redis+cluster://host?claim_window=86400", "claim_window must be seconds above 0"),
    "no socket": ("unix://", "names no socket"),
    "a socket with two slashes": ("unix://var/run/redis.sock", "with three slashes"),
    "a socket's database by name": ("unix:///redis.sock?db=locks", "db=locks"),
    "a socket's virtual host": ("redis+socket:///redis.sock?virtual_host=x", "the database must be a number"),
    "a sentinel without a master": ("redis+sentinel://:s3cr3t@a:26379,b:26379", "must name hosts and the master"),
    "a sentinel with a database for a master": ("redis+sentinel://a:26379/0", "must name hosts and the master"),
    "a sentinel without hosts": ("redis+sentinel:///mymaster", "must name hosts and the master"),
    "a sentinel's timeout": ("redis+sentinel://a/m?sentinel_socket_timeout=x", "socket_timeout=x"),
    "a cluster with a database": ("redis+cluster://:s3cr3t@host:6379/3", "only database 0"),
    "a cluster with a database, asked": ("redis+cluster://host?db=3", "only database 0"),
    "a certificate that is not there": ("rediss://:s3cr3t@host?ssl_ca_certs=/no/ca.pem", "there is no file /no/ca.pem"),
    "a check there is not": ("rediss://host?ssl_cert_reqs=maybe", "maybe"),
}


@pytest.mark.parametrize(("url", "said"), MALFORMED.values(), ids=MALFORMED)
def test_a_mistake_in_a_url_is_found_when_the_store_is_opened(url: str, said: str) -> None:
    """Nothing is connected for it, the line says what is wrong, and the password is not in it."""
    with pytest.raises(LockConfigError, match=said) as caught:
        open_store(url)
    is_one_clean_line(caught.value)


@pytest.mark.parametrize(
    ("scheme", "meant"),
    [("redi", "redis"), ("reddiss", "rediss"), ("valky", "valkey"), ("redis-cluster", "redis\\+cluster")],
)
def test_an_unknown_scheme_is_told_the_nearest(scheme: str, meant: str) -> None:
    """The suggestion can be copied."""
    with pytest.raises(LockConfigError, match=f"did you mean {meant}://") as caught:
        open_store(f"{scheme}://:{SECRET}@host/0")
    is_one_clean_line(caught.value)


GOOD = [
    "redis://",
    "redis://localhost",
    "redis://[::1]:6379/3",
    "redis://:p%40ss@host/0",
    "redis://user:p%2Fss@host:6379",
    "REDIS://host",
    "rediss://host?ssl_cert_reqs=CERT_NONE",
    "rediss://host?ssl_cert_reqs=required&ssl_check_hostname=false",
    "valkey://host/1",
    "valkeys://host/1",
    "unix:///var/run/redis%20one.sock?db=2",
    "redis+socket:///var/run/redis.sock?virtual_host=/2",
    "redis+sentinel://a,b:26380/mymaster/3?sentinel_password=s3cr3t&sentinel_socket_timeout=0.5",
    "rediss+sentinel://a/mymaster",
    "redis+cluster://a:6379,b:6379",
    "rediss+cluster://a:6379?ssl_cert_reqs=none",
    "redis://host?socket_timeout=0.5&client_name=locks&health_check_interval=30&socket_keepalive=true&protocol=3",
]


@pytest.mark.parametrize("url", GOOD)
def test_opening_connects_to_nothing(url: str) -> None:
    """A store whose servers do not exist opens, and shows no password, so that a worker starts before its Redis."""
    store = open_store(url.replace("%40", SECRET))
    assert SECRET not in repr(store)
    store.close()


def test_what_a_url_says_is_what_redis_is_told(redis_server: RedisServer) -> None:
    """Database, client name and the first host: read by the server, not by us."""
    url = f"redis://127.0.0.1:{redis_server.port}/3?client_name=locks%20here".replace("%20", "-")
    with contextlib.closing(open_store(url)) as store:
        take(store, "wallet")
        line = next(line for line in redis_server.ask("CLIENT", "LIST").splitlines() if "name=locks-here" in line)
        assert " db=3 " in line
        assert store.release(claim("wallet"))
