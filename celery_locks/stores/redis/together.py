"""Several keys in one lock: by one script where one may be for any keys, else under one fence at least."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores.base import Together
from celery_locks.stores.members import is_alone
from celery_locks.stores.redis import scripts
from celery_locks.stores.redis.calls import Call
from celery_locks.stores.redis.written import asks_for, busy, good
from celery_locks.ticket import undated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from celery_locks.stores.redis.wire import Wire


class TogetherInRedis(Together):
    """What a `RedisStore` does about several keys. The nodes of a cluster know nothing of each other's."""

    clock: Callable[[], float]
    _wire: Wire
    _retention_ms: int
    _window_ms: int
    _channel: str

    def joins(self, claim: Claim) -> bool:
        return self._wire.is_whole and claim.slots == 1 and not claim.shared

    def acquire_together(self, claim: Claim) -> Lease | Busy:
        names = [name for key in claim.keys for name in self._names(key)]
        call = Call(scripts.ACQUIRE_TOGETHER, names, self._acquire_with(claim))
        before = self.clock()
        answer = self._taken(call, () if claim.in_common else self._releases(claim, 1))
        if isinstance(answer, int):
            return Lease(claim, answer, before + claim.ttl, self.clock)
        place, refusal = answer or (1, [])
        return busy(refusal)._replace(key=claim.keys[place - 1]) if refusal else Busy()

    def release_together(self, claim: Claim, *, is_dead: bool = False) -> bool:
        with self._speaking():
            said = [good(answer) for answer in self._wire.each(self._releases(claim, int(is_dead)))]
        return any(said) if is_dead else all(said)

    def step_aside(self, claim: Claim) -> bool:
        ticket = undated(claim.ticket.name) if claim.ticket else ""
        told = (claim.owner, self._window_ms, self._channel, ticket, "" if is_alone(claim) else asks_for(claim))
        call = Call(scripts.STEP_ASIDE, (*self._names(claim.key), self._slots_name(claim.key)), told)
        with self._speaking():
            return bool(self._wire.run(call))

    def level(self, claim: Claim, fence: int) -> bool:
        told = (claim.owner, fence, self._retention_ms)
        calls = [Call(scripts.LEVEL, self._names(key)[:2], told) for key in claim.keys]
        with self._speaking():
            return all(good(answer) == 1 for answer in self._wire.each(calls))

    def _releases(self, claim: Claim, done: int) -> Sequence[Call]:
        told = self._release_with(claim, done)
        return [Call(scripts.RELEASE, (*self._names(key), self._slots_name(key)), told) for key in claim.keys]

    @abc.abstractmethod
    def _names(self, key: str) -> Sequence[str]: ...

    @abc.abstractmethod
    def _slots_name(self, key: str) -> str: ...

    @abc.abstractmethod
    def _acquire_with(self, claim: Claim) -> tuple[Any, ...]: ...

    @abc.abstractmethod
    def _release_with(self, claim: Claim, done: int) -> tuple[Any, ...]: ...

    @abc.abstractmethod
    def _taken(self, call: Call, farewell: Sequence[Call]) -> Any: ...

    @abc.abstractmethod
    def _speaking(self) -> AbstractContextManager[None]: ...
