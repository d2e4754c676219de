"""Hazards of Redis servers: what they may forget, and who else writes there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from celery_locks.doctor.finding import Finding, Hazard, some
from celery_locks.stores.operations import Served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery_locks.doctor.ward import StoreCase
    from celery_locks.stores.operations import Server

#: A replica says every second how far it is.
BEHIND = 10
NAMES = 1000
_SYNCED = "online"
_REPLICA = re.compile(r"slave\d+")
#: As Django's cache names its keys: prefix, version, key.
_OF_DJANGO = re.compile(r"[^:]*:\d+:.*", re.DOTALL)
#: What Celery and its transport for Redis keep, and what RQ does: its keys are where those of its locks are by default.
_OF_QUEUES = re.compile(r"celery-task-meta-|celery-taskset-meta-|_kombu\.|unacked|.*\.reply\.celery\.pidbox$|rq:")

EVICTS = Hazard(
    "CL201",
    "error",
    "A lock is a key that expires. When memory is full one that is held may be removed, and a second job gets it while"
    " the first still runs.",
    "CONFIG SET maxmemory-policy noeviction, and in redis.conf; or a server of its own for locks",
)
FORGETS = Hazard(
    "CL202",
    "warning",
    "A restart frees all keys that were taken since it was last saved: their holders run on while others begin, and"
    " only a fence refuses what they write. Fences then go by the server's clock alone.",
    "CONFIG SET appendonly yes; in redis.conf appendonly yes and appendfsync everysec, or always",
)
LAGS = Hazard(
    "CL203",
    "warning",
    "A failover to one of them gives keys again that are held, with fences that go by its clock alone.",
    "see INFO replication; with min-replicas-to-write 1 and min-replicas-max-lag 10 the master refuses instead",
)
REPLICA = Hazard(
    "CL204",
    "error",
    "Whoever asks a replica is refused, or writes what its master undoes at the next sync.",
    "name the master, {master}, or the sentinels: redis+sentinel://host:26379/mymaster/0",
)
CACHE = Hazard(
    "CL205",
    "error",
    "cache.clear() is FLUSHDB: it frees all locks at once, while their holders run.",
    "another database for one of the two, as in redis://localhost:6379/1",
)
OTHERS = Hazard(
    "CL206",
    "note",
    "Whoever empties it, or fills the server, does so to the locks.",
    "a database of its own for locks, as in redis://localhost:6379/1",
)


def eviction(case: StoreCase) -> Iterator[Finding]:
    """A server that is full removes locks."""
    for server in _servers(case):
        policy, most = server.info.get("maxmemory_policy", "noeviction"), server.info.get("maxmemory", "0")
        if policy != "noeviction" and most != "0":
            so_far = f"it has evicted {server.info.get('evicted_keys', 0)} keys so far"
            yield EVICTS.found(f"{server.name}: maxmemory-policy is {policy} and maxmemory {most}; {so_far}")


def no_persistence(case: StoreCase) -> Iterator[Finding]:
    """A server that is restarted has forgotten its locks."""
    for server in _servers(case):
        if server.info.get("aof_enabled") == "0":
            # Where it does not tell, it may save.
            saves = server.config is None or server.config.get("save")
            what = "writes no append-only file: of the latest it keeps nothing" if saves else "keeps nothing"
            yield FORGETS.found(f"{server.name} {what} over a restart", "note" if saves else "warning")


def replicas_behind(case: StoreCase) -> Iterator[Finding]:
    """A replica that may be promoted knows nothing of the latest locks."""
    for server in _servers(case):
        if behind := [_place(replica) for replica in _replicas(server.info) if _is_behind(replica)]:
            yield LAGS.found(f"{server.name}: replicas are not in sync: {some(behind)}")


def a_replica(case: StoreCase) -> Iterator[Finding]:
    """The server that is named follows another one. Of a majority the room of Redlock says so."""
    for server in _servers(case):
        if server.info.get("role") == "slave" and not case.is_majority:
            master = f"{server.info.get('master_host')}:{server.info.get('master_port')}"
            yield REPLICA.found(f"{server.name} is a replica of {master}", master=master)


def a_cache_beside(case: StoreCase) -> Iterator[Finding]:
    """Something else keeps its keys in the same database, and may empty it."""
    if not isinstance(case.store, Served):
        return
    names = [name for name in case.store.strangers(NAMES) if not _is_of_queues(name, case)]
    cached = [name for name in names if _OF_DJANGO.fullmatch(name)]
    if cached:
        yield CACHE.found(f"{case.name}: a cache of Django is in the same database: {some(cached)}{_flushes(case)}")
    elif names:
        yield OTHERS.found(f"{case.name}: others keep keys in the same database: {some(names)}{_flushes(case)}")


def _servers(case: StoreCase) -> list[Server]:
    return [server for server in case.servers if server.info]


def _replicas(info: Mapping[str, str]) -> list[dict[str, str]]:
    found = [text for name, text in info.items() if _REPLICA.fullmatch(name)]
    return [dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair) for text in found]


def _is_behind(replica: Mapping[str, str]) -> bool:
    return replica.get("state") != _SYNCED or int(replica.get("lag", 0)) > BEHIND


def _place(replica: Mapping[str, str]) -> str:
    state = replica.get("state")
    how = f"{replica.get('lag')} s behind" if state == _SYNCED else state
    return f"{replica.get('ip')}:{replica.get('port')} ({how})"


def _is_of_queues(name: str, case: StoreCase) -> bool:
    return bool(_OF_QUEUES.match(name)) or name in _queues(case.app)


def _queues(app: Any) -> set[str]:
    """The lists that are queues of the app; the transport has one for each priority."""
    names = app.amqp.queues if app else ("celery",)
    return {f"{name}{tail}" for name in names for tail in ("", "\x06\x163", "\x06\x166", "\x06\x169")}


def _flushes(case: StoreCase) -> str:
    told = [server.info.get(f"cmdstat_{each}", "") for server in _servers(case) for each in ("flushdb", "flushall")]
    count = sum(int(found[1]) for text in told if (found := re.match(r"calls=(\d+)", text)))
    return f"; databases of that server were emptied {count} times since it runs" if count else ""


CHECKS = (eviction, no_persistence, replicas_behind, a_replica, a_cache_beside)
