"""Strings in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from celery_locks.fencing.redis import Fenced, fence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Lease

SERVERS = ("redis_url",)
_WRITES = (b"\r\nEVALSHA\r\n", b"\r\nSET\r\n")


class _Attentive(redis.Connection):
    """Calls somebody right before a write is sent."""

    def __init__(self, *, announce: Callable[[], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._announce = announce

    def send_packed_command(self, command: Any, check_health: bool = True) -> Any:  # noqa: FBT001, FBT002 - as redis-py
        whole = command if isinstance(command, bytes) else b"".join(command)
        if any(write in whole for write in _WRITES):
            self._announce()
        return super().send_packed_command(command, check_health)


class RedisTarget:
    def __init__(self, url: str) -> None:
        self._pause: Callable[[], None] = lambda: None
        pool = redis.ConnectionPool.from_url(
            url, connection_class=_Attentive, announce=self._announce, decode_responses=True
        )
        self._client = redis.Redis.from_pool(pool)
        self._guard = Fenced(self._client)

    def _announce(self) -> None:
        self._pause()

    def prepare(self, names: Sequence[str]) -> None:
        self._client.mset(dict.fromkeys(names, ""))
        self._client.delete(*[fence_of(name) for name in names])

    def plain(self, name: str, value: str) -> None:
        self._client.set(name, value)

    def guarded(self, name: str, value: str, lease: Lease) -> None:
        self._guard.set(name, value, lease=lease)

    def claim(self, name: str, lease: Lease) -> str:
        return str(self._guard.get(name, lease=lease))

    def read(self, name: str) -> str:
        return str(self._client.get(name))

    def fence(self, name: str) -> int:
        return int((self._client.get(fence_of(name)) or "0").partition(":")[0])

    def before_write(self, pause: Callable[[], None]) -> None:
        self._pause = pause

    def close(self) -> None:
        self._client.close()
