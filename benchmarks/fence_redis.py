"""A guarded write to Redis: what it takes beyond the plain one, and beyond a script that only writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from celery_locks import Locks
from celery_locks.fencing.redis import Fenced

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks import Lease

TARGET = AtMost(1.15)
FIELDS: dict[Any, Any] = {f"field {number}": number for number in range(5)}
WRITES = ("set", "hset", "incr")
_OF = "evalsha of the same, no fence"
WHY = (
    "a guarded write is a script, which Redis takes some 10 µs to run, and 2 for a plain write: evalsha / plain",
    "is what that costs, and guard / evalsha what the fence adds",
)
#: The least that a script can be which writes for somebody.
BARE = "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))"


def run(url: str, *, quick: bool) -> Part:
    """Each write to a name of its own, by one client, under one lease."""
    client, locks = redis.Redis.from_url(url), Locks(url)
    with locks.lock("fenced", ttl=3600) as lease:
        subjects = {**_plain(client), **_bare(client), **_guarded(client, lease)}
        times = Rounds.timed(subjects, rounds=5 if quick else 300, calls=10 if quick else 50)
    locks.close()
    client.close()
    return Part("fence-redis", "a guarded write to Redis", _figures(times), WHY)


def _plain(client: redis.Redis) -> dict[str, Callable[[], object]]:
    return {
        "set": lambda: client.set("plain set", "value"),
        "hset": lambda: client.hset("plain hset", mapping=FIELDS),
        "incr": lambda: client.incr("plain incr"),
    }


def _bare(client: redis.Redis) -> dict[str, Callable[[], object]]:
    sha = str(client.script_load(BARE))
    fields: list[Any] = [word for pair in FIELDS.items() for word in pair]
    return {
        "bare set": lambda: client.evalsha(sha, 1, "bare set", "SET", "value"),
        "bare hset": lambda: client.evalsha(sha, 1, "bare hset", "HSET", *fields),
        "bare incr": lambda: client.evalsha(sha, 1, "bare incr", "INCRBY", 1),
    }


def _guarded(client: redis.Redis, lease: Lease) -> dict[str, Callable[[], object]]:
    guard = Fenced(client)
    return {
        "guard.set": lambda: guard.set("guarded set", "value", lease=lease),
        "guard.hset": lambda: guard.hset("guarded hset", FIELDS, lease=lease),
        "guard.incr": lambda: guard.incr("guarded incr", lease=lease),
        "guard.get": lambda: guard.get("guarded set", lease=lease),
    }


def _figures(times: Rounds) -> list[Figure]:
    return [
        Figure.of("set", times.micros("set"), "µs"),
        *(Figure.of(f"guard.{each} / {each}", times.ratio(f"guard.{each}", each), target=TARGET) for each in WRITES),
        *(Figure.of(f"guard.{each} / {_OF}", times.ratio(f"guard.{each}", f"bare {each}")) for each in WRITES),
        *(Figure.of(f"evalsha of {each}, no fence / {each}", times.ratio(f"bare {each}", each)) for each in WRITES),
    ]
