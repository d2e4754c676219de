"""Notes in Redis: a string each, that expires."""

from __future__ import annotations

import abc
import math
from typing import TYPE_CHECKING, Any

from celery_locks.stores.notes import Notes
from celery_locks.stores.redis import scripts
from celery_locks.stores.redis.calls import Call
from celery_locks.stores.redis.names import note_name

if TYPE_CHECKING:
    from celery_locks.stores.redis.wire import Wire


class RedisNotes(Notes, abc.ABC):
    """The part of the store that keeps notes."""

    prefix: str
    _wire: Wire

    def note(self, name: str, seconds: float) -> None:
        self._run(Call(scripts.NOTE, [note_name(self.prefix, name)], (math.ceil(seconds * 1000),)))

    def is_noted(self, name: str) -> bool:
        return bool(self._run(Call(scripts.IS_NOTED, [note_name(self.prefix, name)])))

    @abc.abstractmethod
    def _run(self, call: Call) -> Any: ...
