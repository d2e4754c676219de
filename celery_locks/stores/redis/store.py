"""The store: what each verb asks of a server, and what its answer means."""

from __future__ import annotations

import contextlib
import itertools
import math
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
from celery_locks.stores.base import DEFAULT_PREFIX, Crowds, Inspects, Lines, Store
from celery_locks.stores.redis import scripts
from celery_locks.stores.redis.calls import Call
from celery_locks.stores.redis.listening import RedisListening
from celery_locks.stores.redis.mending import outage
from celery_locks.stores.redis.names import glob, key_of, lock_name
from celery_locks.stores.redis.positions import RedisPositions
from celery_locks.stores.redis.queues import RedisQueues
from celery_locks.stores.redis.remembering import RedisNotes
from celery_locks.stores.redis.together import TogetherInRedis
from celery_locks.stores.redis.written import asks_for, asks_with, attends_with, busy, good, holdings, look, some
from celery_locks.ticket import undated

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from celery_locks.stores.base import Listening, Look, Waiting
    from celery_locks.stores.redis.wire import Wire

DAY = 86_400.0
#: How long a key's last fence is remembered. Fences also follow the server's clock, so forgetting one is harmless.
FENCE_RETENTION = 2 * DAY
SHOWN_AT_ONCE = 500
#: A claim that wants the key alone has so many names.
_OF_ONE = 4
#: Of those who hold a key together.
_ALL = 1_000_000
#: A released key is kept this long for the first in its line.
CLAIM_WINDOW = 2.0
_FAILURES = (RedisError, RedisClusterException, OSError, UnicodeError)


class RedisStore(TogetherInRedis, RedisQueues, RedisNotes, RedisPositions, Store, Inspects, Lines, Crowds):
    """One string a lock, `fence:owner`, that expires with its lease, and one beside it that remembers the last fence.

    Those who hold a key together are a sorted set, each with the time at which its lease ends.

    Exclusion holds while the server keeps its memory. A restart without persistence, an eviction, or a failover to
    a replica that had not heard of the lock may let a second holder in: the fence is what tells them apart.
    """

    fence_is_time = True
    hands_over = True

    def __init__(  # noqa: PLR0913 - settings, by name
        self,
        wire: Wire,
        *,
        name: str = "Redis",
        prefix: str = DEFAULT_PREFIX,
        fence_retention: float = FENCE_RETENTION,
        claim_window: float = CLAIM_WINDOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._wire = wire
        self._name = name
        self._retention_ms = _ms(fence_retention)
        self._window_ms = _ms(claim_window)
        self._channel = f"{prefix}wake"

    def __repr__(self) -> str:
        return f"<RedisStore {self._name}>"

    def acquire(self, claim: Claim) -> Lease | Busy:
        names = self._names_for(claim)
        call = Call(scripts.ACQUIRE, names, self._acquire_with(claim))
        if len(names) > _OF_ONE:
            # First what is needed also where a cluster can keep no line.
            call = Call(scripts.ENTER, (*names[:2], names[4], *names[2:4]), (*call.arguments, asks_for(claim)))
        before = self.clock()
        farewell = () if claim.in_common else (Call(scripts.RELEASE, names, self._release_with(claim, 1)),)
        answer = self._taken(call, farewell)
        if isinstance(answer, int):
            return Lease(claim, answer, before + claim.ttl, self.clock)
        return busy(answer)

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        calls = [Call(scripts.RENEW, [self._lock_name(lease.key)], (lease.owner, _ms(lease.ttl))) for lease in leases]
        with self._speaking():
            answers = some(self._wire.batch(calls))
        return [_verdict(answer) for answer in answers]

    def release(self, claim: Claim) -> bool:
        return bool(self._run(Call(scripts.RELEASE, self._names_for(claim), self._release_with(claim, 0))))

    def undo(self, claim: Claim) -> None:
        self._run(Call(scripts.RELEASE, self._names_for(claim), self._release_with(claim, -1)))

    def disown(self, claim: Claim) -> bool:
        # Of a dead process nobody knows how many were to hold it.
        names = (*self._names(claim.key), self._slots_name(claim.key))
        return bool(self._run(Call(scripts.RELEASE, names, self._release_with(claim, 1))))

    def attend(self, waiting: Sequence[Waiting], home: str = "") -> list[Look | None]:
        seen = home if self._wire.sees_listeners else ""
        with self._speaking():
            calls = [self._waiting(scripts.ATTEND, each, *attends_with(each, seen)) for each in waiting]
            return [look(answer) for answer in some(self._wire.batch(calls))]

    def leave(self, waiting: Sequence[Waiting]) -> None:
        with self._speaking():
            self._wire.batch([self._waiting(scripts.LEAVE, each, undated(each.ticket)) for each in waiting])

    def listen(self, home: str = "") -> Listening:
        channels = [self._channel, f"{self._channel}:{home}"] if home else [self._channel]
        with self._speaking():
            return RedisListening(self._wire.listener(), channels, self._key, self._failure)

    def inspect(self, key: str) -> Holding | None:
        return next(iter(self._holdings(key, 1)), None)

    def holders(self, key: str) -> list[Holding]:
        return self._holdings(key, _ALL)

    def slots(self, key: str) -> int | None:
        slots = self._run(Call(scripts.SLOTS, [self._slots_name(key)]))
        return None if slots is None else int(slots)

    def set_slots(self, key: str, slots: int | None) -> None:
        lock, _, *line = self._names(key)
        arguments = ("" if slots is None else slots, self._window_ms, self._channel)
        self._run(Call(scripts.SET_SLOTS, [self._slots_name(key), lock, *line], arguments))

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        with self._speaking():
            names = self._wire.names(glob(self.prefix, pattern))
            while page := list(itertools.islice(names, SHOWN_AT_ONCE)):
                yield from self._shown(page)

    def force_release(self, key: str) -> bool:
        arguments = (self._retention_ms, self._window_ms, self._channel)
        names = (*self._names(key), self._slots_name(key))
        return bool(self._run(Call(scripts.FORCE_RELEASE, names, arguments)))

    def close(self) -> None:
        self._wire.close()

    def _shown(self, page: Iterable[bytes | str]) -> Iterator[Holding]:
        # A key can be met twice in one scan.
        keys = {name: self._key(name) for name in dict.fromkeys(page)}
        answers = self._wire.batch([Call(scripts.INSPECT, [name], (_ALL,)) for name in keys])
        shown = (holdings(key, good(answer)) for key, answer in zip(keys.values(), answers, strict=True))
        return itertools.chain.from_iterable(shown)

    def _holdings(self, key: str, most: int) -> builtins.list[Holding]:
        return holdings(key, self._run(Call(scripts.INSPECT, [self._lock_name(key)], (most,)))[0])

    def _taken(self, call: Call, farewell: Sequence[Call]) -> Any:
        try:
            return self._run(call, farewell)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, (ResponseError, TimeoutError)):
                # It was not refused, and no farewell was said: the connection broke.
                self._give_up(farewell)
            raise

    def _give_up(self, farewell: Sequence[Call]) -> None:
        """Undo a request that may have arrived without an answer, and refuse it should it arrive late."""
        with contextlib.suppress(StoreUnavailable):
            for call in farewell:
                self._run(call)

    def _run(self, call: Call, farewell: Sequence[Call] = ()) -> Any:
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

    def _acquire_with(self, claim: Claim) -> tuple[Any, ...]:
        asked = (claim.owner, _ms(claim.ttl), self._retention_ms, self._window_ms, self._channel)
        waits, echo = asks_with(claim.ticket, heard=self._wire.sees_listeners), claim.ticket and claim.ticket.echo
        # Only one that wants this key alone says that it may be handed over to it, or that it comes after another.
        return (*asked, *waits, echo or "", claim.after or "") if echo or claim.after else asked + waits

    def _release_with(self, claim: Claim, done: int) -> tuple[Any, ...]:
        ticket = undated(claim.ticket.name) if claim.ticket else ""
        said = claim.owner, self._retention_ms, done, self._window_ms, self._channel, ticket
        return (*said, claim.ticket.home) if claim.ticket and claim.ticket.echo else said

    def _waiting(self, script: scripts.Script, waiting: Waiting, *ticket: str) -> Call:
        name = self._lock_name(waiting.key)
        names = [name, f"{name}:line", f"{name}:homes", f"{name}:slots"]
        return Call(script, names, (self._window_ms, self._channel, *ticket))

    def _names(self, key: str) -> tuple[str, str, str, str]:
        name = self._lock_name(key)
        return name, f"{name}:fence", f"{name}:line", f"{name}:homes"

    def _names_for(self, claim: Claim) -> tuple[str, ...]:
        name = self._lock_name(claim.key)
        if claim.slots == 1 and not claim.shared:
            return name, f"{name}:fence", f"{name}:line", f"{name}:homes"
        return (*self._names(claim.key), f"{name}:slots")

    def _slots_name(self, key: str) -> str:
        return f"{self._lock_name(key)}:slots"

    def _lock_name(self, key: str) -> str:
        return lock_name(self.prefix, key)

    def _key(self, name: bytes | str) -> str:
        return key_of(self.prefix, name)


def _ms(seconds: float) -> int:
    # Rounded up: the server's lease must not end before ours.
    return max(1, math.ceil(seconds * 1000))


def _verdict(answer: Any) -> Verdict:
    if isinstance(answer, Exception):
        return Verdict.UNKNOWN
    return Verdict.RENEWED if answer == 1 else Verdict.LOST
