"""What Redis shows of its lines, and how one holder alone is put out of a key."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from celery_locks.stores.operations import Conflict, Evicts, Queues, Remembers, Tally, Waiter
from celery_locks.stores.redis import scripts
from celery_locks.stores.redis.calls import Call
from celery_locks.stores.redis.cluster import Clustered
from celery_locks.stores.redis.condition import RedisCondition, text
from celery_locks.stores.redis.names import key_of
from celery_locks.stores.redis.written import some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.stores.redis.wire import Wire

#: As the scripts have it: the scores of those who are away begin here.
_AWAY = 4e15
MICRO = 1e6
_OF_A_CLUSTER = "of a cluster only the node that has these numbers counts, for keys that live there"


class RedisQueues(RedisCondition, Queues, Evicts, Remembers, abc.ABC):
    """The part of the store that only an operator asks for."""

    _wire: Wire
    _retention_ms: int
    _window_ms: int
    _channel: str

    def line(self, key: str, most: int = 100) -> list[Waiter]:
        _, _, line, homes = self._names(key)[:4]
        return [_waiter(*shown) for shown in self._run(Call(scripts.QUEUE, [line, homes], (most,)))]

    def waiting(self, keys: Sequence[str]) -> list[int]:
        with self._speaking():
            # A node of a cluster that does not answer is no reason to show nothing of the others.
            answers = some(self._wire.batch([Call(scripts.WAITING, [self._names(key)[2]]) for key in keys]))
        return [answer if isinstance(answer, int) else 0 for answer in answers]

    def evict(self, key: str, fence: int) -> bool:
        arguments = (self._retention_ms, self._window_ms, self._channel, fence)
        return bool(self._run(Call(scripts.EVICT, (*self._names(key), self._slots_name(key)), arguments)))

    @property
    def unseen(self) -> str:
        """Scripts of other nodes cannot write to where these are."""
        return _OF_A_CLUSTER if isinstance(self._wire, Clustered) else ""

    def most_contended(self, most: int = 20) -> list[Tally]:
        # In braces that are not a lock's, so that a cluster has all three in one place.
        names = [f"{self.prefix}stats:{{stats}}:{name}" for name in ("count", "waited", "held")]
        answer = self._run(Call(scripts.MOST_CONTENDED, names, (most,)))
        return [_tally(key_of(self.prefix, f"{self.prefix}{{{text(key)}}}"), *each) for key, *each in answer]

    def conflicts(self, key: str) -> list[Conflict]:
        return [
            _conflict(text(each)) for each in self._run(Call(scripts.CONFLICTS, [f"{self._names(key)[0]}:conflicts"]))
        ]

    @abc.abstractmethod
    def _run(self, call: Call) -> Any: ...

    @abc.abstractmethod
    def _slots_name(self, key: str) -> str: ...

    @abc.abstractmethod
    def _names(self, key: str) -> tuple[str, ...]: ...


def _waiter(ticket: bytes | str, score: bytes | str, in_slot: int) -> Waiter:
    name = ticket.decode("utf-8", "replace") if isinstance(ticket, bytes) else ticket
    date = float(score)
    if date < 0:
        return Waiter(name, "called", None)
    if date >= _AWAY:
        return Waiter(name, "away", (date - _AWAY) / MICRO)
    return Waiter(name, "slot" if in_slot else "queue", date / MICRO)


def _tally(key: str, conflicts: bytes | str, waited: bytes | str, held: bytes | str) -> Tally:
    return Tally(key, int(float(conflicts)), float(waited) / MICRO, float(held) / MICRO)


def _conflict(written: str) -> Conflict:
    when, asker, holder, age = written.split("\0")
    return Conflict(int(when) / MICRO, asker, holder or None, int(age) / MICRO if age else None)
