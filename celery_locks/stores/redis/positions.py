"""How far a schedule has come, in Redis: one hash, so that all of it is on one node and changes in one step."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from celery_locks.stores.positions import Positions
from celery_locks.stores.redis import scripts
from celery_locks.stores.redis.calls import Call
from celery_locks.stores.redis.names import positions_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_locks.stores.redis.wire import Wire


class RedisPositions(Positions, abc.ABC):
    """The part of the store that keeps positions. They have no expiry: a schedule may rest for a year."""

    prefix: str
    _wire: Wire

    def take_up(self, schedule: str, fence: int) -> dict[str, str] | None:
        answer = self._run(Call(scripts.TAKE_UP, [positions_name(self.prefix, schedule)], (fence,)))
        if answer is None:
            return None
        words = [word.decode() if isinstance(word, bytes) else word for word in answer]
        pairs = zip(words[::2], words[1::2], strict=True)
        return {name[1:]: text for name, text in pairs if name.startswith("=")}

    def put(self, schedule: str, fence: int, number: int, texts: Mapping[str, str | None]) -> bool:
        words = [word for name, text in texts.items() for word in (f"={name}", text or "")]
        return bool(self._run(Call(scripts.PUT, [positions_name(self.prefix, schedule)], (fence, number, *words))))

    @abc.abstractmethod
    def _run(self, call: Call) -> Any: ...
