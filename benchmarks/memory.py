"""What many keys, each locked and released once, leave behind: in this process and in Redis."""

from __future__ import annotations

import gc
import resource
import sys
import time
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import redis

from benchmarks.report import AtMost, Figure, Part
from celery_locks import Locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The server looks for expired keys ten times a second, and takes a share of them each time.
PATIENCE = 15.0


class _Left(NamedTuple):
    used: int
    keys: int


def run(url: str, *, quick: bool) -> Part:
    """Each kind of growth has its own rounds, and a warm-up before it."""
    count = 500 if quick else 10_000
    with redis.Redis.from_url(f"{url}/3") as client:
        locks = Locks(f"{url}/3")
        _lock_each(locks, "warm", count)
        figures = [
            Figure("python objects, bytes a key", _traced(locks, count) / count, "B", target=AtMost(1)),
            Figure("resident memory, bytes a key", _resident(locks, count) / count, "B", target=AtMost(10)),
            *_in_redis(client, locks, count),
            *_after_the_retention(client, f"{url}/3?fence_retention=1", count),
        ]
        locks.close()
    return Part("memory", f"{count:,} keys locked and released", figures)


def _lock_each(locks: Locks, prefix: str, count: int) -> None:
    for number in range(count):
        lock = locks.lock(f"{prefix}:{number}", ttl=30, heartbeat=bool(number % 2))
        lock.acquire()
        lock.release()


def _traced(locks: Locks, count: int) -> float:
    """Bytes of Python objects that are there after and were not before."""
    with _tracing() as traced:
        _lock_each(locks, "first", count)
        before = traced()
        _lock_each(locks, "traced", count)
        return max(0, traced() - before)


@contextmanager
def _tracing() -> Iterator[Callable[[], int]]:
    def traced() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        yield traced
    finally:
        tracemalloc.stop()


def _resident(locks: Locks, count: int) -> float:
    gc.collect()
    before = _resident_now()
    _lock_each(locks, "resident", count)
    gc.collect()
    return max(0, _resident_now() - before)


def _resident_now() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - a file of the kernel's
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        # Elsewhere only the highest so far is known: growth is still seen.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _in_redis(client: redis.Redis, locks: Locks, count: int) -> list[Figure]:
    client.flushdb()
    before = _left(client)
    _lock_each(locks, "redis", count)
    after = _left(client)
    usage = [client.memory_usage(name) or 0 for name in client.scan_iter(count=1000)]
    return [
        Figure("in Redis until the fence's retention, bytes a key", (after.used - before.used) / count, "B"),
        Figure("of that MEMORY USAGE, bytes a key", sum(usage) / count, "B"),
        Figure("names kept until then, a key", (after.keys - before.keys) / count, "names"),
    ]


def _after_the_retention(client: redis.Redis, url: str, count: int) -> list[Figure]:
    client.flushdb()
    before = _left(client)
    locks = Locks(url)
    _lock_each(locks, "short", count)
    ended, deadline = time.monotonic() + 1, time.monotonic() + PATIENCE
    while client.dbsize() and time.monotonic() < deadline:
        time.sleep(0.05)
    left, took = _left(client), time.monotonic() - ended
    locks.close()
    return [
        Figure("names left after a retention of 1 s", left.keys, "names", target=AtMost(0)),
        Figure("in Redis after it, bytes a key", max(0, left.used - before.used) / count, "B", target=AtMost(10)),
        Figure("seconds the server took to sweep them", max(0.0, took), "s"),
    ]


def _left(client: redis.Redis) -> _Left:
    return _Left(client.info("memory")["used_memory"], client.dbsize())
