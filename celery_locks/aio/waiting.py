"""Takes a key for a coroutine, which waits for it in its loop and not in a thread."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from celery_locks import telling
from celery_locks.aio.hands import mine
from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.lease import Busy, Lease
from celery_locks.patience import NAP, REFUSED, pauses
from celery_locks.stores.base import Waiting
from celery_locks.ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.guard import Guard
    from celery_locks.lease import Claim
    from celery_locks.waker import Waker

Rows: TypeAlias = "dict[tuple[Guard, tuple[str, ...]], deque[asyncio.Future[None]]]"

#: Where more than so many wait in line in this process, each looks for himself less often than after every nap.
MANY = 100

#: Who waits in a loop for a key whose store keeps no line. The first of each row looks for all.
_rows: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Rows] = weakref.WeakKeyDictionary()


class Try:
    """One coroutine's try to take a key. However it ends, nothing of it stays at the store that nobody has."""

    def __init__(
        self, guard: Guard, claim: Claim, beat: float | None, on_lost: Callable[[Lease], None] | None = None
    ) -> None:
        self._guard = guard
        self._claim = claim
        self._beat = beat
        self._on_lost = on_lost
        self._clock = guard.store.clock
        self._started = self._clock()
        self._has_asked = False
        self._hands = mine()

    async def take(self, wait: float | None) -> Lease | Busy:
        """The key, after `wait` seconds at the latest (None: for ever), or who has it."""
        deadline = math.inf if wait is None else self._started + wait
        try:
            outcome = await self._taken(deadline)
        except (StoreUnavailable, LockConfigError):
            self._leave_line()
            raise
        except BaseException as error:
            # Nothing is awaited here: who is cancelled goes at once, and may be cancelled again.
            self.undo(error)
            raise
        if isinstance(outcome, Busy):
            telling.contended(self._claim, outcome, self._clock() - self._started)
        return outcome

    def undo(self, error: BaseException) -> None:
        """Give back what this try may have taken, and its place in line, once what it has asked for is answered."""
        self._hands.do(self._claim.key, partial(self._undone, error))

    def _undone(self, error: BaseException) -> None:
        if self._has_asked:
            if self._guard.waker:
                # Told of one after it has left, the store would put it in line again.
                self._guard.waker.await_told()
            self._guard.interrupted(self._claim, error)

    async def _taken(self, deadline: float) -> Lease | Busy:
        waits = deadline > self._started
        waker = self._guard.waker
        if waits:
            self._claim = self._guard.lined_up(self._claim)
        if waits and waker:
            outcome = await self._in_line(waker, deadline)
        elif waits and self._rows().get((self._guard, self._claim.keys)):
            # Others came before.
            outcome = Busy()
        else:
            outcome = await self._ask()
        if waits and isinstance(outcome, Busy) and not outcome.ticket and (outcome != REFUSED or not waker):
            return await self._look_again(outcome, deadline)
        return outcome

    async def _in_line(self, waker: Waker, deadline: float) -> Lease | Busy:
        asked, outcome = self._clock(), await self._ask()
        while isinstance(outcome, Busy) and outcome.ticket:
            self._has_ticket(waker, outcome.ticket)
            left = min(NAP * max(1.0, waker.present() / MANY), deadline - self._clock())
            if left <= 0:
                await self._hands.done(self._claim.key, self._out_of_line)
                break
            longest = left if outcome.remaining is None else outcome.remaining
            waiting = Waiting(outcome.key or self._claim.key, outcome.ticket)
            await self._nap(waker, waiting, left, (longest, asked))
            self._has_ticket(waker, outcome.ticket)
            asked, outcome = self._clock(), await self._ask()
        return outcome

    def _has_ticket(self, waker: Waker, name: str) -> None:
        self._claim = self._claim._replace(ticket=Ticket(name, home=waker.home()))

    async def _nap(self, waker: Waker, waiting: Waiting, longest: float, known: tuple[float, float]) -> None:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def call(_: str) -> None:
            try:
                loop.call_soon_threadsafe(_wake, woken)
            except RuntimeError as error:
                # The loop is closed: whoever waited there will not come.
                self.undo(error)

        try:
            waker.stay(waiting, call, *known)
            await asyncio.wait({woken}, timeout=longest)
        except BaseException:
            # Not here: it may be a garbage collector that ends us, in a thread that has the waker's mutex.
            self._hands.do(waiting.key, partial(waker.forget, waiting.ticket))
            raise
        waker.forget(waiting.ticket)

    async def _look_again(self, outcome: Lease | Busy, deadline: float) -> Lease | Busy:
        """Wait in the row of those in this loop who wait for the key; the first of them asks for it now and then."""
        rows, row, me = self._rows(), self._row(), asyncio.get_running_loop().create_future()
        row.append(me)
        try:
            if row[0] is not me:
                await asyncio.wait({me}, timeout=None if deadline == math.inf else deadline - self._clock())
            return await self._foremost(outcome, deadline) if row[0] is me else outcome
        finally:
            row.remove(me)
            if not row:
                rows.pop((self._guard, self._claim.keys), None)
            elif not me.get_loop().is_closed():
                _wake(row[0])

    async def _foremost(self, outcome: Lease | Busy, deadline: float) -> Lease | Busy:
        for pause in pauses():
            left = deadline - self._clock()
            if isinstance(outcome, Lease) or left <= 0:
                break
            ends = math.inf if outcome.remaining is None else max(outcome.remaining, 0.001)
            await asyncio.sleep(min(pause, left, ends))
            outcome = await self._ask()
        return outcome

    async def _ask(self) -> Lease | Busy:
        return await self._hands.done(self._claim.key, self._asked, self._unheard)

    def _asked(self) -> Lease | Busy:
        self._has_asked = True
        return self._guard.ask(self._claim, self._started, beat=self._beat, on_lost=self._on_lost, once=True)

    def _unheard(self, _: Lease | Busy) -> None:
        self._undone(RuntimeError("its loop is closed"))

    def _leave_line(self) -> None:
        if self._claim.ticket and self._has_asked:
            self._hands.do(self._claim.key, self._out_of_line)

    def _out_of_line(self) -> None:
        for key in self._claim.keys:
            self._guard.leave_line(key, self._claim.ticket and self._claim.ticket.name)

    def _row(self) -> deque[asyncio.Future[None]]:
        return self._rows().setdefault((self._guard, self._claim.keys), deque())

    @staticmethod
    def _rows() -> Rows:
        return _rows.setdefault(asyncio.get_running_loop(), {})


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
