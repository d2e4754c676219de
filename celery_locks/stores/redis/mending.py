"""What to do about an error of Redis, in words."""

from __future__ import annotations

import re

from redis.exceptions import AuthenticationError, ResponseError

from celery_locks.errors import StoreUnavailable

#: What the locks' user needs; the page of the store says the same.
RIGHTS = (
    "+eval +evalsha +get +set +del +rename +pexpire +pttl +time +zadd +zrem +zrange +zscore +zcount"
    " +zrangebyscore +zremrangebyscore +hget +hmget +hset +hdel +publish +subscribe +pubsub|numsub +ping +scan"
    " +zcard +zincrby +zrevrange +lpush +ltrim +lrange +hgetall"
)
_GIVE = f"this user may not do that: give it {RIGHTS}, the locks' keys and their channel (ACL SETUSER)"

#: A sign in the error's name or text, and what it asks for. The first that is found counts.
_ADVICE = {
    "READONLY": "this server is a read-only replica: name the master, or use redis+sentinel://",
    "read only replica": "this server is a read-only replica: name the master, or use redis+sentinel://",
    "previous master is now a slave": "the master has changed: try again",
    "maxmemory": "Redis has no memory left: raise maxmemory, or keep locks apart from the cache",
    "MISCONF": "Redis cannot save to its disk and refuses writes: free the disk, see its log",
    "NOREPLICAS": "too few replicas are in sync for min-replicas-to-write: see INFO replication",
    "WRONGPASS": "the user or password is wrong: write redis://user:password@host",
    "invalid username-password": "the user or password is wrong: write redis://user:password@host",
    "invalid password": "the password is wrong: write redis://:password@host",
    "no password is set": "this server wants no password: leave it out of the URL",
    "without any password configured": "this server wants no password: leave it out of the URL",
    "unauthenticated": "this server wants a password: write redis://:password@host",
    "NOAUTH": "this server wants a password: write redis://:password@host",
    "Authentication required": "this server wants a password: write redis://:password@host",
    "NOPERM": _GIVE,
    "permissions": _GIVE,
    "user executing the script": _GIVE,
    "DB index is out of range": "this server has fewer databases: use a lower number in the URL",
    "out of range": "the ttl is longer than Redis can count: use a shorter one",
    "invalid expire time": "the ttl is longer than Redis can count: use a shorter one",
    "Redis is loading": "it has just started and still reads its data: wait",
    "CLUSTERDOWN": "the cluster does not cover all slots: see CLUSTER INFO",
    "slots are not covered": "the cluster does not cover all slots: see CLUSTER INFO",
    "luster mode is not enabled": "this server is not a Cluster node: write redis://",
    "luster support disabled": "this server is not a Cluster node: write redis://",
    "MOVED": "this server is a Cluster node: write redis+cluster://",
    "MovedError": "this server is a Cluster node: write redis+cluster://",
    "unknown command 'SENTINEL'": "this server is no Sentinel: name the Sentinels, whose port is mostly 26379",
    "unknown command `SENTINEL`": "this server is no Sentinel: name the Sentinels, whose port is mostly 26379",
    "No master found": "no Sentinel knows a master of this name: check name and hosts, or wait for the failover",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted: add ?ssl_ca_certs=/path/ca.pem",
    "WRONG_VERSION_NUMBER": "this server does not speak TLS here: write redis://",
    "wrong version number": "this server does not speak TLS here: write redis://",
    "record layer failure": "this server does not speak TLS here: write redis://",
    "WRONGTYPE": "something else is kept under this name: give the locks a prefix of their own (lock_prefix)",
    "max number of clients": "the server has no connection left: raise its maxclients",
    "Too many connections": "this process has no connection left: raise max_connections in the URL",
    "Timeout": "it hangs, is overloaded or out of reach; the time allowed is by default ?socket_timeout=2",
    "timed out": "it hangs, is overloaded or out of reach; the time allowed is by default ?socket_timeout=2",
    "onnection closed by server": "check that it runs; a server that speaks only TLS wants rediss://",
    "onnection reset": "check that it runs; a server that speaks only TLS wants rediss://",
}
_ELSE = "check that the server runs and that the URL is right"
_LONGEST = 200
#: Where in which script it happened: of no use to a reader.
_SCRIPT = re.compile(r",? script: [0-9a-f]{40}.*$")


def outage(name: str, error: BaseException) -> StoreUnavailable:
    """The error that says in one line what went wrong and how to mend it."""
    what = _SCRIPT.sub("", " ".join(str(error).split()))[:_LONGEST] or type(error).__name__
    did = "refused" if isinstance(error, (ResponseError, AuthenticationError)) else "did not answer"
    # redis-py takes the first word away from an answer and makes it the error's class.
    return StoreUnavailable(f"{name} {did} ({what}): {_advice(f'{type(error).__name__} {what}')}")


def _advice(text: str) -> str:
    return next((advice for sign, advice in _ADVICE.items() if sign in text), _ELSE)
