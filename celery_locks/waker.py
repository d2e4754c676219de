"""Attends to those who wait in this process for their turn in line, and calls each when it comes."""

from __future__ import annotations

import heapq
import logging
import os
import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.rounds import Rounds
from celery_locks.stores.base import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.base import Lines, Look, Wake

logger = logging.getLogger("celery_locks.waker")

#: A wake is awaited in pieces of this length, so that a thread with nobody to wake can end.
PATIENCE = 5.0
#: After an outage the store is asked again this soon.
AGAIN = 1.0
#: Keys are looked at this much after the time at which something may have changed, spread out among the workers.
LATER = 0.05


@dataclass
class _Key:
    tickets: set[str] = field(default_factory=set)
    look_at: float = 0.0


class Waker:
    """One store's waker. A thread listens; another tells the store who is here, and looks whether a line stands still.

    A line stands still when whoever was called did not come, or when a holder died: nobody gives the key back then. So
    each key that somebody here waits for is looked at when its lease or its claim window is over.
    """

    def __init__(self, store: Lines, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._start_afresh()

    def wait(self, waiting: Waiting, call: Callable[[], None]) -> None:
        """Call this, from a thread of the waker, when the ticket's turn comes. The key may be taken again by then."""
        with self._mine():
            self._calls[waiting.ticket] = (waiting.key, call)
            self._keys.setdefault(waiting.key, _Key()).tickets.add(waiting.ticket)
            self._new.append(waiting)
            self._rounds.expect(0.0)
            self._listen()

    def forget(self, ticket: str) -> None:
        """It waits here no more. Its place in line is not touched."""
        with self._mine():
            self._forgotten(ticket)

    def all_forgotten(self) -> list[Waiting]:
        """Forget all who wait here, and say who they were."""
        with self._mine():
            waiting = self._everybody()
            self._calls.clear()
            self._keys.clear()
            return waiting

    def _mine(self) -> threading.Lock:
        if self._pid != os.getpid():
            self._start_afresh()
        return self._mutex

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._calls: dict[str, tuple[str, Callable[[], None]]] = {}
        self._keys: dict[str, _Key] = {}
        self._looks: list[tuple[float, str]] = []
        self._new: list[Waiting] = []
        self._rounds = Rounds("waker", self._mutex, self._attend, self._due, self._clock)
        self._listener: threading.Thread | None = None

    def _everybody(self) -> list[Waiting]:
        return [Waiting(key, ticket) for ticket, (key, _) in self._calls.items()]

    def _forgotten(self, ticket: str) -> Callable[[], None] | None:
        key, call = self._calls.pop(ticket, ("", None))
        known = self._keys.get(key)
        if known:
            known.tickets.discard(ticket)
            if not known.tickets:
                del self._keys[key]
        return call

    def _due(self) -> float | None:
        while self._looks and self._is_stale(*self._looks[0]):
            heapq.heappop(self._looks)
        if self._new:
            return 0.0
        return self._looks[0][0] if self._looks else None

    def _is_stale(self, look_at: float, key: str) -> bool:
        known = self._keys.get(key)
        return known is None or known.look_at != look_at

    def _look_in(self, key: str, seconds: float) -> None:
        known = self._keys.get(key)
        if known:
            known.look_at = self._clock() + seconds + LATER * random.random()  # noqa: S311 - no secret
            heapq.heappush(self._looks, (known.look_at, key))
            self._rounds.expect(known.look_at)

    def _attend(self) -> None:
        with self._mutex:
            waiting, self._new = [each for each in self._new if each.ticket in self._calls], []
            waiting += [Waiting(key, "") for key in self._due_keys()]
        if not waiting:
            return
        try:
            looks = self._store.attend(waiting)
        except StoreUnavailable as error:
            logger.warning("the line of %d keys cannot be attended to, trying again: %s", len(waiting), error)
            with self._mutex:
                self._new += [each for each in waiting if each.ticket]
            time.sleep(AGAIN)
            return
        for each, look in zip(waiting, looks, strict=True):
            self._seen(each, look)

    def _due_keys(self) -> list[str]:
        now, found = self._clock(), []
        while self._looks and self._looks[0][0] <= now:
            look_at, key = heapq.heappop(self._looks)
            if not self._is_stale(look_at, key):
                self._keys[key].look_at = 0.0
                found.append(key)
        return found

    def _seen(self, waiting: Waiting, look: Look) -> None:
        with self._mutex:
            call = self._forgotten(waiting.ticket) if look.turn else None
            self._look_in(waiting.key, look.again)
        if call:
            call()

    def _listen(self) -> None:
        if self._listener is None or not self._listener.is_alive():
            self._listener = threading.Thread(target=self._hear, name="celery_locks-listener", daemon=True)
            self._listener.start()

    def _hear(self) -> None:
        while self._listener is threading.current_thread():
            try:
                self._hear_all()
            except StoreUnavailable as error:
                logger.warning("wakes are not heard, jobs come by their countdown until they are: %s", error)
                time.sleep(AGAIN)
            with self._mutex:
                if not self._calls:
                    self._listener = None

    def _hear_all(self) -> None:
        listening = self._store.listen()
        try:
            # What was said before now was not heard, and the store may have forgotten who is present.
            with self._mutex:
                self._new = self._everybody()
                self._rounds.expect(0.0)
            while self._calls:
                for wake in listening.heard(PATIENCE):
                    self._woken(wake)
        finally:
            listening.close()

    def _woken(self, wake: Wake) -> None:
        with self._mutex:
            call = self._forgotten(wake.ticket)
            if wake.turn:
                self._look_in(wake.key, wake.window)
        if call:
            call()
