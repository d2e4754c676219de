"""What a process knows of its own claims."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import NoNodeError, ZookeeperError

if TYPE_CHECKING:
    from celery_locks.stores.zookeeper.names import Name

#: So many owners are remembered that are done. The session's own order refuses late requests, however many there are.
REMEMBERED = 4096


class Recent:
    """The last few thousand names that were added."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        """Remember a name."""
        self._names[name] = None
        if len(self._names) > REMEMBERED:
            # Another thread may be doing the same.
            with contextlib.suppress(StopIteration, KeyError, RuntimeError):
                del self._names[next(iter(self._names))]

    def discard(self, name: str) -> None:
        """Forget a name."""
        self._names.pop(name, None)


class Known:
    """By the path of an owner's node: what this process took, what it gives back, and who is done."""

    def __init__(self) -> None:
        #: With the number of the session it was taken in, once that is known.
        self.mine: dict[str, int | None] = {}
        #: Of those among them that hold a key with others.
        self.members: dict[str, Name] = {}
        self.done = Recent()
        self.refused = Recent()
        self._leaving: dict[str, Name] = {}
        self._asked: dict[str, int] = {}
        self._mutex = threading.Lock()

    def is_over(self, mark: str) -> bool:
        """Whether its owner was done, or is about to be: it gets nothing more."""
        return mark in self.done or mark in self._leaving

    def wants(self, name: Name) -> None:
        """It is about to be asked for."""
        if name.crowd:
            self.members[name.mark] = name
        self.mine[name.mark] = None

    def got_nothing(self, name: Name) -> None:
        """It was refused."""
        self.mine.pop(name.mark, None)
        self.members.pop(name.mark, None)

    def leave(self, name: Name) -> None:
        """It is to be given back."""
        with self._mutex:
            self._leaving[name.mark] = name

    def still_to_leave(self) -> list[Name]:
        """What was not yet heard to be given back."""
        with self._mutex:
            return list(self._leaving.values())

    def asked(self, name: Name) -> None:
        """It was asked for, once more."""
        with self._mutex:
            self._asked[name.mark] = self._asked.get(name.mark, 0) + 1

    def left(self, name: Name, results: list[Any], session: int | None) -> None:
        """Note the answer, the first time. A node that is gone was removed by us if we had asked for it before.

        In another session than it was taken in it went with its own.
        """
        refusal = next((result for result in results if isinstance(result, ZookeeperError)), None)
        # Two threads hear of it, and the second one must find it noted. An interrupt may strike after any of these
        # steps, and the release that follows it must say the same.
        with self._mutex:
            if name.mark not in self._leaving:
                return
            again = self._asked.get(name.mark, 0) > 1 and self.mine.get(name.mark) == session
            if refusal is None or (isinstance(refusal, NoNodeError) and again):
                self.done.add(name.mark)
            self._asked.pop(name.mark, None)
            del self._leaving[name.mark]
            self.got_nothing(name)
