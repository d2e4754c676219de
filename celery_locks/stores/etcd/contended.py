"""The keys that are looked at before a lease is granted for them."""

from __future__ import annotations

import contextlib

#: How many are remembered.
MOST = 1000
#: How often in a row one may be found free before it is forgotten: each time costs a look too many.
FREE = 3


class Contended:
    """Keys that were found taken lately.

    A lease that is granted for a key that is taken, and given back, is two writes in each member. A key that many want
    is free for a moment now and then: whoever got it then will meet it taken again.
    """

    def __init__(self) -> None:
        #: How often each may still be found free, the revision at which it was found taken, and how much was there.
        self._left: dict[str, tuple[int, int, int]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def __len__(self) -> int:
        return len(self._left)

    def known(self, key: str) -> tuple[int, int]:
        """At which revision it was found taken, 0 when that is not known, and by how many."""
        return self._left.get(key, (0, 0, 1))[1:]

    def add(self, key: str, revision: int = 0, count: int = 1) -> None:
        """It was found taken."""
        # The one that was added longest ago goes. Another thread may be here too.
        if self._left.pop(key, None) is None and len(self._left) >= MOST:
            with contextlib.suppress(StopIteration, RuntimeError, KeyError):
                del self._left[next(iter(self._left))]
        self._left[key] = FREE, revision, count

    def was_free(self, key: str) -> None:
        """It was looked at and found free."""
        left, revision, count = self._left.pop(key, (0, 0, 1))
        if left > 1:
            self._left[key] = left - 1, revision, count
