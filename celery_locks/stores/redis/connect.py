"""From a URL to a client: one server, a unix socket, Sentinel or Cluster, with or without TLS."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from celery_locks.errors import LockConfigError
from celery_locks.stores import hidden

if TYPE_CHECKING:
    from collections.abc import Callable

Client = Any  # redis.Redis or RedisCluster: both run execute_command

#: A client never waits without a bound. A hung server costs a job this long, not for ever.
TIMEOUTS = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
_SCHEME = re.compile(r"^(redis|valkey)(s?)(?:\+(sentinel|cluster|socket))?$|^(unix)$")
_FORMS = (
    "redis://[user:password@]host:6379/0, rediss://... for TLS, unix:///path/redis.sock?db=0,"
    " redis+sentinel://host1:26379,host2:26379/mymaster/0 or redis+cluster://host1:6379,host2:6379"
)


class Address(NamedTuple):
    """What a URL says, in parts."""

    url: str
    tls: bool
    form: str
    login: dict[str, str]
    hosts: list[tuple[str, int]]
    path: str
    query: dict[str, str]


def parse(url: str) -> Address:
    """Take a URL apart; a mistake in it is a one-line error with the right forms."""
    try:
        return _parse(url)
    except ValueError as error:
        raise LockConfigError(f"{hidden(url)!r} is not a Redis URL ({error}); write {_FORMS}") from None


def client_for(address: Address, options: dict[str, Any]) -> Callable[[], Client]:
    """A function that makes the client. Nothing is connected before it is called."""
    settings = {**TIMEOUTS, **_retry(), **address.login, **options}
    maker = {"sentinel": _sentinel, "cluster": _cluster, "socket": _socket}.get(address.form, _single)
    return functools.partial(_made, maker, address, settings)


def _made(maker: Callable[[Address, dict[str, Any]], Client], address: Address, settings: dict[str, Any]) -> Client:
    try:
        return maker(address, settings)
    except (ValueError, TypeError) as error:
        raise LockConfigError(f"{hidden(address.url)!r} has a setting Redis cannot take: {error}") from None


def _parse(url: str) -> Address:
    scheme, _, rest = url.partition("://")
    matched = _SCHEME.match(scheme.lower())
    if not matched:
        raise ValueError(f"unknown scheme {scheme}")
    form = "socket" if matched[4] else matched[3] or ""
    place, _, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    login, _, hosts = authority.rpartition("@")
    return Address(
        url=url,
        tls=matched[2] == "s",
        form=form,
        login=_login(login),
        hosts=[_host(each, 26379 if form == "sentinel" else 6379) for each in hosts.split(",")] if hosts else [],
        path=unquote(slash + path),
        query={name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()},
    )


def _login(text: str) -> dict[str, str]:
    user, _, password = text.partition(":")
    found = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}


def _host(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"no host in {text!r}")
    return parts.hostname, parts.port or default


def _retry() -> dict[str, Any]:
    # One more try finds a new connection when the pooled one is stale. Every script may be repeated: see Store.
    return {"retry": Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,))}


def _query(address: Address) -> str:
    # Celery's own URLs say CERT_NONE where redis-py says none.
    known = {name: value.removeprefix("CERT_").lower() if name == "ssl_cert_reqs" else value
             for name, value in address.query.items()}  # fmt: skip
    return f"?{urlencode(known)}" if known else ""


def _single(address: Address, settings: dict[str, Any]) -> Client:
    host, port = address.hosts[0] if address.hosts else ("localhost", 6379)
    if len(address.hosts) > 1:
        raise LockConfigError(f"{hidden(address.url)!r} names several hosts: use redis+sentinel:// or redis+cluster://")
    bracketed = f"[{host}]" if ":" in host else host
    _number(address, address.path.strip("/") or "0")
    url = f"redis{'s' if address.tls else ''}://{bracketed}:{port}{address.path}{_query(address)}"
    return redis.Redis(connection_pool=redis.ConnectionPool.from_url(url, **settings))


def _socket(address: Address, settings: dict[str, Any]) -> Client:
    if not address.path:
        raise LockConfigError(f"{hidden(address.url)!r} names no socket: write unix:///path/redis.sock?db=0")
    query = dict(address.query)
    query.setdefault("db", query.pop("virtual_host", "0").strip("/"))
    url = f"unix://{address.path}{_query(address._replace(query=query))}"
    return redis.Redis(connection_pool=redis.ConnectionPool.from_url(url, **settings))


def _sentinel(address: Address, settings: dict[str, Any]) -> Client:
    service, _, db = address.path.strip("/").partition("/")
    if not service or not address.hosts:
        raise LockConfigError(
            f"{hidden(address.url)!r} must name hosts and the master: redis+sentinel://host1:26379,host2:26379/mymaster/0"
        )
    asked = _asked(address)
    sentinel_login = {name.removeprefix("sentinel_"): asked.pop(name) for name in list(asked) if name.startswith("sentinel_")}
    tls = {"ssl": True} if address.tls else {}
    sentinels = Sentinel(address.hosts, sentinel_kwargs={**TIMEOUTS, **tls, **sentinel_login})
    return sentinels.master_for(service, **{"db": _number(address, db or "0"), **settings, **tls, **asked})


def _cluster(address: Address, settings: dict[str, Any]) -> Client:
    if address.path.strip("/") not in ("", "0"):
        raise LockConfigError(f"{hidden(address.url)!r}: a Redis Cluster has only database 0; end the URL after the hosts")
    nodes = [ClusterNode(host, port) for host, port in address.hosts or [("localhost", 6379)]]
    settings = {name: value for name, value in settings.items() if name != "retry"}
    return RedisCluster(startup_nodes=nodes, **{**settings, **({"ssl": True} if address.tls else {}), **_asked(address)})


def _asked(address: Address) -> dict[str, Any]:
    asked = dict(redis.connection.parse_url(f"redis://localhost{_query(address)}"))
    return {name: value for name, value in asked.items() if name not in ("host", "port", "connection_class")}


def _number(address: Address, text: str) -> int:
    if not text.isdigit():
        raise LockConfigError(f"{hidden(address.url)!r}: the database must be a number, not {text!r}")
    return int(text)


def mend(error: RedisError) -> str:
    """What to do about an error, in words."""
    text = str(error)
    for sign, advice in _ADVICE.items():
        if sign in text or sign == type(error).__name__:
            return advice
    return "check that the server runs and that the URL is right"


_ADVICE = {
    "ReadOnlyError": "this server is a read-only replica: name the master, or use redis+sentinel://",
    "READONLY": "this server is a read-only replica: name the master, or use redis+sentinel://",
    "OutOfMemoryError": "Redis has no memory left: raise maxmemory, or keep locks apart from the cache",
    "OOM": "Redis has no memory left: raise maxmemory, or keep locks apart from the cache",
    "MISCONF": "Redis cannot save to its disk and refuses writes: free the disk, see its log",
    "WRONGPASS": "the password or user is wrong: write redis://user:password@host",
    "invalid username-password": "the password or user is wrong: write redis://user:password@host",
    "invalid password": "the password is wrong: write redis://:password@host",
    "NOAUTH": "this server wants a password: write redis://:password@host",
    "Authentication required": "this server wants a password: write redis://:password@host",
    "NoPermissionError": "this user may not do that: allow it +eval +evalsha +get +set +del +pexpire +pttl +time +scan on its keys",
    "NOPERM": "this user may not do that: allow it +eval +evalsha +get +set +del +pexpire +pttl +time +scan on its keys",
    "BusyLoadingError": "Redis is still loading its data: wait",
    "ClusterDownError": "the cluster does not cover all slots: see CLUSTER INFO",
    "cluster mode is not enabled": "this server is not a Cluster node: write redis://",
    "Cluster mode is not enabled": "this server is not a Cluster node: write redis://",
    "MovedError": "this server is a Cluster node: write redis+cluster://",
    "MOVED": "this server is a Cluster node: write redis+cluster://",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted: add ?ssl_ca_certs=/path/ca.pem",
    "WRONG_VERSION_NUMBER": "this server does not speak TLS here: write redis://",
    "WRONGTYPE": "something else is kept under this name: give the locks a prefix of their own (lock_prefix)",
}
