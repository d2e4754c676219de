"""A store with lines that says what it is told to say."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.base import Lines, Listening, Look, Waiting, Wake

if TYPE_CHECKING:
    from collections.abc import Callable


class Silence(Listening):
    """Nothing is said until it is told to say something, or breaks."""

    def __init__(self, store: FakeLines) -> None:
        self.store = store
        self.closed = False

    def heard(self, timeout: float) -> list[Wake]:
        with self.store.changed:
            self.store.changed.wait_for(lambda: self.store.said or self.store.broken, min(timeout, 0.2))
            if self.store.broken:
                self.store.broken = False
                raise StoreUnavailable("the connection broke")
            said, self.store.said = self.store.said, []
            return said

    def close(self) -> None:
        self.closed = True


class FakeLines(Lines):
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.attended: list[list[Waiting]] = []
        self.looks: dict[Waiting, Look] = {}
        self.left: list[Waiting] = []
        self.said: list[Wake] = []
        self.listened = 0
        self.broken = self.down = self.deaf = False
        self.changed = threading.Condition()
        #: What is done while the store is asked.
        self.meanwhile: Callable[[], object] = lambda: None

    def attend(self, waiting, home=""):  # noqa: ARG002 - it is for the store
        self.attended.append(list(waiting))
        if self.down:
            raise StoreUnavailable("the server does not answer")
        self.meanwhile()
        return [self.looks.get(each, Look(30.0, turn=False)) for each in waiting]

    def leave(self, waiting):
        if self.down:
            raise StoreUnavailable("the server does not answer")
        self.left += waiting

    def listen(self, home=""):  # noqa: ARG002 - it is for the store
        self.listened += 1
        if self.deaf:
            raise StoreUnavailable("nobody may listen")
        return Silence(self)

    def say(self, *wakes: Wake) -> None:
        with self.changed:
            self.said += wakes
            self.changed.notify_all()
