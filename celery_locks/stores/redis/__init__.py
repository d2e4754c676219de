"""Locks in Redis or Valkey: one server, Sentinel or Cluster. The server's clock ends a lease."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - redis-py's own
)

from celery_locks.errors import LockConfigError, LockError, StoreUnavailable
from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store
from celery_locks.stores.redis import scripts
from celery_locks.stores.redis.address import Address, parse
from celery_locks.stores.redis.connect import wire_for
from celery_locks.stores.redis.mending import outage
from celery_locks.stores.redis.names import glob, key_of, lock_name
from celery_locks.stores.redis.wire import Call, good

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from celery_locks.stores.redis.wire import Wire

DAY = 86_400.0
#: How long a key's last fence is remembered. Fences also follow the server's clock, so forgetting one is harmless.
FENCE_RETENTION = 2 * DAY
LONGEST_RETENTION = 3650 * DAY
SHOWN_AT_ONCE = 500
_LOCK = re.compile(r"([0-9]+):(.*)", re.DOTALL)
_FAILURES = (RedisError, RedisClusterException, OSError, UnicodeError)


class RedisStore(Store, Inspects):
    """One string a lock, `fence:owner`, that expires with its lease, and one beside it that remembers the last fence.

    Exclusion holds while the server keeps its memory. A restart without persistence, an eviction, or a failover to
    a replica that had not heard of the lock may let a second holder in: the fence is what tells them apart.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        name: str = "Redis",
        prefix: str = DEFAULT_PREFIX,
        fence_retention: float = FENCE_RETENTION,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._wire = wire
        self._name = name
        self._retention_ms = _ms(fence_retention)

    def __repr__(self) -> str:
        return f"<RedisStore {self._name}>"

    def acquire(self, claim: Claim) -> Lease | Busy:
        names = self._names(claim.key)
        call = Call(scripts.ACQUIRE, names, (claim.owner, _ms(claim.ttl), self._retention_ms))
        farewell = Call(scripts.RELEASE, names, (claim.owner, self._retention_ms, 1))
        before = self.clock()
        try:
            answer = self._run(call, farewell)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, (ResponseError, TimeoutError)):
                # It was not refused, and no farewell was said: the connection broke.
                self._give_up(farewell)
            raise
        if isinstance(answer, int):
            return Lease(claim, answer, before + claim.ttl, self.clock)
        return Busy(_text(answer[0]), _seconds(answer[1])) if answer else Busy()

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        calls = [Call(scripts.RENEW, [self._lock_name(lease.key)], (lease.owner, _ms(lease.ttl))) for lease in leases]
        with self._speaking():
            answers = self._wire.batch(calls)
            if all(isinstance(answer, Exception) for answer in answers):
                # None at all is an outage.
                answers = [good(answer) for answer in answers]
        return [_verdict(answer) for answer in answers]

    def release(self, claim: Claim) -> bool:
        arguments = (claim.owner, self._retention_ms, 0)
        return bool(self._run(Call(scripts.RELEASE, self._names(claim.key), arguments)))

    def inspect(self, key: str) -> Holding | None:
        return _holding(key, self._run(Call(scripts.INSPECT, [self._lock_name(key)]))[0])

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        with self._speaking():
            names = self._wire.names(glob(self.prefix, pattern))
            while page := list(itertools.islice(names, SHOWN_AT_ONCE)):
                yield from self._shown(page)

    def force_release(self, key: str) -> bool:
        return bool(self._run(Call(scripts.FORCE_RELEASE, self._names(key), (self._retention_ms,))))

    def close(self) -> None:
        self._wire.close()

    def _shown(self, page: Iterable[bytes | str]) -> Iterator[Holding]:
        # A key can be met twice in one scan.
        keys = {name: self._key(name) for name in dict.fromkeys(page)}
        answers = self._wire.batch([Call(scripts.INSPECT, [name]) for name in keys])
        shown = (_holding(key, good(answer)) for key, answer in zip(keys.values(), answers, strict=True))
        return (holding for holding in shown if holding)

    def _give_up(self, farewell: Call) -> None:
        """Undo a request that may have arrived without an answer, and refuse it should it arrive late."""
        with contextlib.suppress(StoreUnavailable):
            self._run(farewell)

    def _run(self, call: Call, farewell: Call | None = None) -> Any:
        try:
            return self._wire.run(call, farewell)
        except _FAILURES as error:
            raise self._failure(error) from error

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> LockError:
        if isinstance(error, UnicodeError):
            # A key is known to be writable by now.
            return LockConfigError(f"an owner or pattern cannot be written as UTF-8 ({error}): take that out of it")
        return outage(self._name, error)

    def _names(self, key: str) -> tuple[str, str]:
        name = self._lock_name(key)
        return name, f"{name}:fence"

    def _lock_name(self, key: str) -> str:
        return lock_name(self.prefix, key)

    def _key(self, name: bytes | str) -> str:
        return key_of(self.prefix, name)


def _ms(seconds: float) -> int:
    # Rounded up: the server's lease must not end before ours.
    return max(1, math.ceil(seconds * 1000))


def _seconds(ms: int) -> float | None:
    return ms / 1000 if ms >= 0 else None


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _verdict(answer: Any) -> Verdict:
    if isinstance(answer, Exception):
        return Verdict.UNKNOWN
    return Verdict.RENEWED if answer == 1 else Verdict.LOST


def _holding(key: str, answer: Sequence[Any]) -> Holding | None:
    if not answer:
        return None
    written, remaining = _text(answer[0]), _seconds(answer[1])
    if ours := _LOCK.match(written):
        return Holding(key, ours[2], int(ours[1]), remaining)
    return Holding(key, written, 0, remaining)


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> RedisStore:
    """A store for redis://, rediss://, valkey://, unix://, redis+sentinel:// or redis+cluster://."""
    address = parse(url)
    if address.form == "cluster" and prefix.partition("{")[2].startswith("}"):
        raise LockConfigError(f"lock_prefix {prefix!r}: '{{}}' in it would put a lock and its fence on different nodes")
    retention = _retention(address, address.query.pop("fence_retention", None))
    return RedisStore(wire_for(address, options), name=address.shown, prefix=prefix, fence_retention=retention)


def _retention(address: Address, text: str | None) -> float:
    try:
        seconds = FENCE_RETENTION if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_RETENTION:
        raise LockConfigError(
            f"{address.shown!r}: fence_retention must be seconds above 0 and at most ten years, not {text!r}"
        )
    return seconds
