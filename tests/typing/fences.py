"""A user's guards for Redis and for whatever has versions: everything here must type-check under `mypy --strict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from typing_extensions import assert_type

from celery_locks import Locks, StaleFence
from celery_locks.fencing import Versioned, guarded_write
from celery_locks.fencing.redis import Fenced

if TYPE_CHECKING:
    import valkey

locks = Locks("redis://localhost")
lock = locks.lock("wallet:7")
guard = Fenced(redis.Redis())


def others(cluster: redis.RedisCluster, theirs: valkey.Valkey) -> list[Fenced]:
    return [Fenced(cluster, keep=86400), Fenced(theirs)]


with locks.lock("wallet:7") as lease:
    guard.set("wallet:7", 90, lease=lease)
    guard.set(b"wallet:7", b"90", ex=0.5, key="wallet:7", lease=lock)
    assert_type(guard.hset("user:7", {"name": "Anna", "age": 7}), int)
    assert_type(guard.incr("count", -1), int)
    assert_type(guard.delete("count"), bool)
    assert_type(guard.get("count"), Any)
    assert_type(guard.hgetall("user:7"), dict[Any, Any])


class Page:
    def read(self) -> tuple[str, int, str]:
        return "", 0, "etag"

    def write(self, value: str, fence: int, version: str) -> bool:
        return bool(value or fence or version)


page: Versioned[str] = Page()
try:
    assert_type(guarded_write(page, lambda text: text + "more", lease=lock), str)
    assert_type(guarded_write(Page(), str.upper, key="page:7"), str)
except StaleFence as refused:
    assert_type(refused.key, str | None)
