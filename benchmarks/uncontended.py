"""Take a free key and give it back: two round trips, and what is paid beyond them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import redis

from benchmarks.report import AtMost, Below, Figure, Part
from benchmarks.rounds import Rounds
from celery_locks import Locks
from celery_locks.lease import Claim, new_owner
from celery_locks.stores.redis import scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Subject = Callable[[], object]

TTL = 30
BARE, BARE_OURS = "two bare evalsha, smallest scripts", "two bare evalsha, our scripts"
STORE, LOCK, NEW_LOCK, BEATING = "the store alone", "Lock", "a new Lock each time", "Lock, heartbeat=True"
PEER, NEW_PEER = "redis-py Lock", "a new redis-py Lock each time"
TAKE = "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end return 0"
GIVE_BACK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def run(url: str, *, quick: bool) -> Part:
    """Every subject has a connection and a key of its own, on one server."""
    client, locks = redis.Redis.from_url(url), Locks(url)
    subjects = {
        BARE: bare(client),
        BARE_OURS: bare_with_our_scripts(client),
        STORE: the_store(locks),
        LOCK: reused(locks.lock("reused", ttl=TTL)),
        NEW_LOCK: made_anew(lambda: locks.lock("new", ttl=TTL)),
        BEATING: reused(locks.lock("beating", ttl=TTL, heartbeat=True)),
        PEER: reused(client.lock("peer", timeout=TTL)),
        NEW_PEER: made_anew(lambda: client.lock("new peer", timeout=TTL)),
    }
    others = dict(_other_peers(url))
    subjects |= {name: subject for name, subject in others.items() if subject}
    times = Rounds.timed(subjects, rounds=5 if quick else 300, calls=10 if quick else 50)
    locks.close()
    client.close()
    absent = [f"{name} is not installed and was left out" for name, subject in others.items() if not subject]
    return Part("uncontended", "acquire + release of a free key", _figures(times, others), absent)


def _figures(times: Rounds, others: dict[str, Subject | None]) -> list[Figure]:
    micros = times.micros(BARE)
    return [
        Figure.of(BARE, micros, "µs"),
        Figure.of("Lock / bare", times.ratio(LOCK, BARE), target=AtMost(1.15)),
        Figure.of("Lock / redis-py Lock", times.ratio(LOCK, PEER), target=Below(1)),
        Figure.of("new Lock / new redis-py Lock", times.ratio(NEW_LOCK, NEW_PEER), target=Below(1)),
        Figure.of("our scripts / bare", times.ratio(BARE_OURS, BARE)),
        Figure.of("the store alone / bare", times.ratio(STORE, BARE)),
        Figure.of("Lock / our scripts", times.ratio(LOCK, BARE_OURS)),
        Figure.of("new Lock / bare", times.ratio(NEW_LOCK, BARE)),
        Figure.of("Lock with heartbeat / bare", times.ratio(BEATING, BARE)),
        Figure.of("redis-py Lock / bare", times.ratio(PEER, BARE)),
        *(Figure.of(f"{name} / bare", times.ratio(name, BARE)) for name, subject in others.items() if subject),
    ]


def bare(client: redis.Redis) -> Subject:
    take, give_back = client.script_load(TAKE), client.script_load(GIVE_BACK)

    def both() -> None:
        client.evalsha(take, 1, "bare", "owner", TTL * 1000)
        client.evalsha(give_back, 1, "bare", "owner")

    return both


def bare_with_our_scripts(client: redis.Redis) -> Subject:
    """A new owner each time, as in use: to one that has released before, our script gives nothing more."""
    take, give_back = client.script_load(scripts.ACQUIRE.text), client.script_load(scripts.RELEASE.text)
    owners = _owners()
    names, line = ("lock:{bare}", "lock:{bare}:fence", "lock:{bare}:line"), (2000, "lock:wake")

    def both() -> None:
        owner = next(owners)
        client.evalsha(take, 3, *names, owner, TTL * 1000, 172_800_000, *line, "", "", "")
        client.evalsha(give_back, 3, *names, owner, 172_800_000, 0, *line, "")

    return both


def _owners() -> Iterator[str]:
    name, count = new_owner(), 0
    while True:
        count += 1
        yield f"{name}{count}"


def the_store(locks: Locks) -> Subject:
    store, owners = locks.store, _owners()

    def both() -> None:
        claim = Claim("store", next(owners), TTL)
        store.acquire(claim)
        store.release(claim)

    return both


def reused(lock: Any) -> Subject:
    def both() -> None:
        lock.acquire()
        lock.release()

    return both


def made_anew(make: Callable[[], Any]) -> Subject:
    def both() -> None:
        lock = make()
        lock.acquire()
        lock.release()

    return both


def _other_peers(url: str) -> Iterator[tuple[str, Subject | None]]:
    yield "python-redis-lock", _python_redis_lock(url) if find_spec("redis_lock") else None
    yield "pottery", _pottery(url) if find_spec("pottery") else None


def _python_redis_lock(url: str) -> Subject:
    peer = import_module("redis_lock")
    return reused(peer.Lock(redis.Redis.from_url(url), "python-redis-lock", expire=TTL))


def _pottery(url: str) -> Subject:
    peer = import_module("pottery")
    return reused(peer.Redlock(key="pottery", masters={redis.Redis.from_url(url)}, auto_release_time=TTL))
