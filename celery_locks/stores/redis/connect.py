"""From an address to a wire: one server, a unix socket, Sentinel or Cluster, with or without TLS."""

from __future__ import annotations

import functools
import math
import os
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from celery_locks.errors import LockConfigError
from celery_locks.stores.redis.cluster import Clustered
from celery_locks.stores.redis.slots import Slots
from celery_locks.stores.redis.wire import Pooled, Wire

if TYPE_CHECKING:
    from celery_locks.stores.redis.address import Address

#: redis-py's settings, where ours differ. A client never waits without a bound: a hung server costs a job this long,
#: not for ever. It tries once: when to try again is the wire's to know. RESP2, because with RESP3 redis-py 8 no longer
#: notices a connection that went stale in the pool. No bound on connections: there is one for each thread that waits.
_SETTINGS = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "protocol": 2, "max_connections": 2**31}
_TIMES = ("socket_timeout", "socket_connect_timeout")
_BEFORE_6 = int(redis.__version__.split(".")[0]) < 6  # noqa: PLR2004 - said by its name
#: Older ones tell a moved key from other errors only with the parser of their cluster client.
_PARSER = {"parser_class": redis.cluster.ClusterParser} if hasattr(redis.cluster, "ClusterParser") else {}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: Settings of redis-py that are objects: a text in their place is found out only by the first connection.
_OBJECTS = {"retry", "retry_on_error", "credential_provider", "redis_connect_func", "socket_keepalive_options"}


def wire_for(address: Address, options: dict[str, Any]) -> Wire:
    """The way to the servers of an address, not yet connected. A mistake that can be seen already is an error now."""
    try:
        settings = {**_SETTINGS, "retry": never(), **address.login, **options, **asked(address.query)}
        _check(settings)
        makers = {"sentinel": _sentinel, "cluster": _cluster, "socket": _socket}
        return makers.get(address.form, _single)(address, settings)
    except (ValueError, TypeError, RedisError) as error:
        raise LockConfigError(f"{address.shown!r} has a setting that redis-py cannot take: {error}") from None


def never() -> Retry:
    """redis-py is not to try again by itself."""
    return Retry(NoBackoff(), 0)


def asked(query: dict[str, str]) -> dict[str, Any]:
    """A URL's query as redis-py's settings."""
    found = dict(query)
    if objects := sorted(_OBJECTS & set(found)):
        raise ValueError(f"{objects[0]} cannot be written in a URL")
    if "ssl_cert_reqs" in found:
        # Celery's own URLs say CERT_NONE where redis-py says none.
        found["ssl_cert_reqs"] = found["ssl_cert_reqs"].lower().removeprefix("cert_")
    parsers = redis.connection.URL_QUERY_ARGUMENT_PARSERS
    return {name: _parsed(parsers.get(name, str), name, text) for name, text in found.items()}


def _parsed(parser: Any, name: str, text: str) -> Any:
    try:
        return parser(text)
    except ValueError:
        raise ValueError(f"{name}={text}") from None


def _check(settings: dict[str, Any]) -> None:
    for name in _TIMES:
        if not 0 < float(settings[name] or 0) < math.inf:
            raise ValueError(f"{name} must be seconds above 0")
    for name in _FILES:
        if (path := settings.get(name)) and not os.path.exists(path):  # noqa: PTH110 - as redis-py opens it
            raise ValueError(f"{name}: there is no file {path}")
    if int(settings.get("db", 0)) < 0:
        raise ValueError("the database must be a number from 0 up")


def _single(address: Address, settings: dict[str, Any]) -> Wire:
    if len(address.hosts) > 1:
        raise LockConfigError(f"{address.shown!r} names several hosts: use redis+sentinel:// or redis+cluster://")
    host, port = address.hosts[0] if address.hosts else ("localhost", 6379)
    place = {"host": host, "port": port, "db": address.database(address.path), **settings}
    return Pooled(_pool(redis.SSLConnection if _tls(address, settings) else redis.Connection, place))


def _socket(address: Address, settings: dict[str, Any]) -> Wire:
    if not address.path.strip("/") or address.hosts:
        raise LockConfigError(f"{address.shown!r} names no socket: write unix:///path/redis.sock, with three slashes")
    database = address.database(settings.pop("virtual_host", "0"))
    return Pooled(_pool(redis.UnixDomainSocketConnection, {"path": address.path, "db": database, **settings}))


def _pool(connection: Any, settings: dict[str, Any]) -> redis.ConnectionPool:
    return _tried(redis.ConnectionPool(connection_class=connection, **settings))


def _tried(pool: redis.ConnectionPool) -> redis.ConnectionPool:
    # A connection that is made, and not connected, finds settings that it does not know.
    pool.connection_class(**pool.connection_kwargs)
    return pool


def _sentinel(address: Address, settings: dict[str, Any]) -> Wire:
    service, _, database = address.path.strip("/").partition("/")
    # Of one part that is a number the master was forgotten, and not the database.
    if not service or not address.hosts or (service.isdecimal() and not database):
        raise LockConfigError(
            f"{address.shown!r} must name hosts and the master: redis+sentinel://host1:26379,host2:26379/mymaster/0"
        )
    theirs = {name: settings.pop(name) for name in list(settings) if name.startswith("sentinel_")}
    tls = {name: value for name, value in settings.items() if name.startswith("ssl_")}
    tls |= {"ssl": True} if _tls(address, settings) else {}
    login = asked({name.removeprefix("sentinel_"): text for name, text in theirs.items()})
    times = {name: settings[name] for name in (*_TIMES, "protocol", "retry")}
    sentinels = Sentinel(address.hosts, sentinel_kwargs={**times, **tls, **login})
    data = {"db": address.database(database), **settings, **tls}
    return Pooled(_tried(SentinelConnectionPool(service, sentinels, **data)))


def _cluster(address: Address, settings: dict[str, Any]) -> Wire:
    if address.database(address.path) != 0 or settings.pop("db", 0) != 0:
        raise LockConfigError(f"{address.shown!r}: a Redis Cluster has only database 0; end the URL after the hosts")
    hosts = address.hosts or [("localhost", 6379)]
    tls = {"ssl": True} if _tls(address, settings) else {}
    pool_at = functools.partial(_node, redis.SSLConnection if tls else redis.Connection, {**settings})
    # A cluster client that tries again by itself waits for a hung node as often as it tries.
    retry = settings.pop("retry")
    once = {"cluster_error_retry_attempts": 0} if _BEFORE_6 else {"retry": retry}
    nodes = [ClusterNode(host, port) for host, port in hosts]
    connect: Any = RedisCluster
    return Clustered(Slots(hosts, pool_at), functools.partial(connect, startup_nodes=nodes, **once, **settings, **tls))


def _node(connection: Any, settings: dict[str, Any], host: str, port: int) -> redis.ConnectionPool:
    return _pool(connection, {**_PARSER, **settings, "host": host, "port": port})


def _tls(address: Address, settings: dict[str, Any]) -> bool:
    # Celery's broker_use_ssl, which comes in the options, means TLS also with redis://.
    return address.tls or any(name.startswith("ssl_") for name in settings)
