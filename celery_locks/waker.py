"""Attends to those who wait in this process for their turn in line, and calls each when it comes."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.hearing import AGAIN, Audience, Hearing
from celery_locks.roll import Early, Roll, Waiter, surely
from celery_locks.rounds import Rounds
from celery_locks.stores.base import Waiting
from celery_locks.ticket import parts
from celery_locks.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Busy
    from celery_locks.stores.base import Lines, Look, Wake

logger = logging.getLogger("celery_locks.waker")

#: Those who come to a key that is taken are told to the store together with who comes next, within this time.
TOGETHER = 0.005


class Waker:
    """One store's waker. A thread listens; another tells the store who is here, and looks whether a line stands still.

    A line stands still when whoever was called did not come, or when a holder died: nobody gives the key back then. So
    each key that somebody here waits for is looked at when its lease or its claim window is over.
    """

    def __init__(self, store: Lines, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._start_afresh()
        _wakers.add(self)

    def wait(self, waiting: Waiting, call: Callable[[str], None], joined: Callable[[Busy], None] | None = None) -> None:
        """Tell the store that this ticket is here, and call when its turn comes, from a thread of the waker.

        The call is given the dated ticket; the key may be taken again by then. `joined` is told, before anything
        else that happens in the same thread, where in line the ticket stands.
        """
        with self._mutex:
            self._roll.add(Waiter(waiting, call, joined))
            self._tell(waiting, TOGETHER if joined else 0.0)
            self._hearing.start()

    def stay(self, waiting: Waiting, call: Callable[[str], None], seconds: float, asked: float = math.inf) -> Waiter:
        """Wait on, as the store has known since it was `asked`.

        Unless it is called, the key is looked at in so many seconds. The waiter shows what called it.
        """
        waiter = Waiter(waiting, call)
        with self._mutex:
            if not self._early.taken(waiting.ticket):
                self._roll.add(waiter)
                self._look_in(waiting.key, seconds)
                if self._hearing.hears and self._hearing.since > asked:
                    # A wake may have come in between.
                    self._tell(waiting)
                self._hearing.start()
                return waiter
        # The wake came before its ticket.
        call(waiting.ticket)
        return waiter

    def forget(self, ticket: str) -> None:
        """It waits here no more. Its place in line is not touched."""
        with self._mutex:
            self._roll.remove(ticket)

    def await_told(self) -> None:
        """Wait for what is being told to the store: one that has been forgotten just now may be among those."""
        with self._telling:
            pass

    def all_forgotten(self) -> list[Waiting]:
        """Forget all who wait here, and say who they were."""
        with self._mutex:
            return self._roll.emptied()

    def note(self, key: str) -> None:
        """A job of this process, or of another, has just found this key taken."""
        with self._mutex:
            self._wanted.add(key)

    def is_calm(self) -> bool:
        """Whether no key at all is wanted here."""
        return not (self._wanted or self._roll.keys)

    def is_wanted(self, key: str) -> bool:
        """Whether somebody here waits for this key, or has found it taken a moment ago."""
        with self._mutex:
            return key in self._roll.keys or key in self._wanted

    def again(self, waiting: Waiting) -> bool:
        """Tell the store once more that a ticket is here: it is in line then. False when it does not wait here."""
        with self._mutex:
            waiter = self._roll.find(waiting.ticket)
            if waiter:
                # With the date it has from its line: without it, a store that has forgotten all would put it last.
                self._tell(waiter.waiting)
            return waiter is not None

    def present(self) -> int:
        """How many wait here."""
        return len(self._roll.waiters)

    def hears(self) -> bool:
        """Whether a wake would be heard now."""
        return self._hearing.hears

    def home(self) -> str:
        """Where who waits in this process is told; nothing while no wake would be heard."""
        return self._home if self.hears() else ""

    def _start_afresh(self) -> None:
        self._mutex, self._telling = threading.Lock(), threading.Lock()
        self._roll = Roll()
        self._early = Early()
        self._new: list[Waiting] = []
        self._tell_at = 0.0
        self._wanted = Wanted(self._clock)
        self._rounds = Rounds("waker", self._mutex, self._attend, self._due, self._clock)
        self._home = home = os.urandom(4).hex()
        audience = Audience(self._begins, self._woken, lambda: bool(self._roll.waiters))
        self._hearing = Hearing(lambda: self._store.listen(home), audience, self._mutex, self._clock)

    def _due(self) -> float | None:
        look_at = self._roll.next_look()
        if not self._new:
            return look_at
        return self._tell_at if look_at is None else min(self._tell_at, look_at)

    def _tell(self, waiting: Waiting, seconds: float = 0.0) -> None:
        """Let the store know of it in so many seconds, or sooner, with another."""
        soon = self._clock() + seconds
        self._tell_at = min(self._tell_at, soon) if self._new else soon
        self._new.append(waiting)
        self._rounds.expect(self._tell_at)

    def _look_in(self, key: str, seconds: float) -> None:
        look_at = self._roll.look_at(key, self._clock() + min(seconds, self._roll.often()))
        if look_at is not None:
            self._rounds.expect(look_at)

    def _attend(self) -> None:
        with self._telling:
            waiting, looks = self._told()
        for each, look in zip(waiting, looks, strict=True):
            if look:
                self._seen(each, look)
        if silent := [each for each, look in zip(waiting, looks, strict=True) if look is None]:
            self._tell_later(silent)

    def _told(self) -> tuple[list[Waiting], list[Look | None]]:
        with self._mutex:
            waiting = [*self._to_tell(), *(Waiting(key, "") for key in self._roll.due(self._clock()))]
        if not waiting:
            return [], []
        try:
            return waiting, self._store.attend(waiting, self.home())
        except StoreUnavailable as error:
            logger.warning("the line of %d keys cannot be attended to, trying again: %s", len(waiting), error)
            self._tell_later(waiting)
            return [], []
        except Exception:
            self._tell_later(waiting)
            raise

    def _tell_later(self, waiting: Sequence[Waiting]) -> None:
        with self._mutex:
            for each in waiting:
                self._tell(each, AGAIN)

    def _to_tell(self) -> list[Waiting]:
        if self._tell_at > self._clock():
            return []
        new, self._new = self._new, []
        return [each for each in dict.fromkeys(new) if self._roll.has(each)]

    def _seen(self, waiting: Waiting, look: Look) -> None:
        with self._mutex:
            waiter = self._roll.find(waiting.ticket)
            if waiter and look.busy and look.busy.ticket:
                waiter.waiting = waiter.waiting._replace(ticket=look.busy.ticket)
            if look.idle and not waiting.ticket:
                # Nobody was called, though some wait here: the store has forgotten them.
                for each in self._roll.waiting_for(waiting.key):
                    self._tell(each)
            self._look_in(waiting.key, look.again)
        if waiter:
            self._stands(waiter, look)

    def _stands(self, waiter: Waiter, look: Look) -> None:
        if waiter.joined and look.busy and not look.turn:
            surely(waiter.joined, look.busy)
        with self._mutex:
            waiter.joined = None
            is_called = (look.turn or waiter.woken) and self._roll.remove(waiter.waiting.ticket)
        if is_called:
            surely(waiter.call, waiter.waiting.ticket)

    def _begins(self) -> None:
        """Wakes are heard from now on. Those before were not, and the store may have forgotten who is present."""
        self._early = Early()
        self._new = []
        for each in self._roll.everybody():
            self._tell(each)

    def _woken(self, wake: Wake) -> None:
        with self._mutex:
            waiter = self._roll.find(wake.ticket)
            if waiter and waiter.joined:
                # It is told first where it stands.
                waiter.woken, waiter = True, None
            else:
                self._roll.remove(wake.ticket)
            if wake.turn:
                self._look_in(wake.key, wake.window)
                if waiter is None:
                    self._early.add(wake.ticket)
        if waiter:
            waiter.wake = wake
            # With the date it has: that of one that was away is of when it left.
            ticket = waiter.waiting.ticket
            surely(waiter.call, ticket if parts(ticket)[1] else wake.ticket)


_wakers: weakref.WeakSet[Waker] = weakref.WeakSet()


def _in_child() -> None:
    # Before it has other threads: of two that found out at the same time each would begin afresh.
    for waker in list(_wakers):
        waker._start_afresh()  # noqa: SLF001 - our own


os.register_at_fork(after_in_child=_in_child)
