"""Which keys were found taken a moment ago."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A key that was found taken is taken to be so for this long.
WANTED = 1.0


class Wanted:
    """Keys, each for a moment. Guarded by whoever has it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        self._calm_at = -math.inf

    def add(self, key: str) -> None:
        """It was found taken just now."""
        self._until[key] = self._calm_at = self._clock() + WANTED
        self._until.move_to_end(key)
        while next(iter(self._until.values())) <= self._clock():
            self._until.popitem(last=False)

    def __contains__(self, key: str) -> bool:
        return self._until.get(key, -math.inf) > self._clock()

    def __bool__(self) -> bool:
        return self._clock() < self._calm_at

    def clear(self) -> None:
        """Forget all."""
        self._until.clear()
        self._calm_at = -math.inf
