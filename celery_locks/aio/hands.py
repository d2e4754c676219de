"""A few threads that speak to the stores for coroutines: what one does there may wait, what a loop does may not."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from celery_locks.rounds import leave_signals_to_main

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

logger = logging.getLogger("celery_locks.aio")

#: So many threads a process, whatever the number of locks, stores and loops.
HANDS = 4
#: A process that ends waits for what is still to be given back, for so many seconds at most.
LAST = 5.0


class Hands:
    """The threads of one process. What is asked of those of its parent is not done: the parent does it."""

    def __init__(self) -> None:
        # To be used by a finalizer too, which may strike anywhere: this queue takes no lock that could be held there.
        self._asked: list[SimpleQueue[Callable[[], object] | None]] = [SimpleQueue() for _ in range(HANDS)]
        self._is_over = False
        self._threads = [
            threading.Thread(target=self._go, args=(asked,), name=f"celery_locks-hand-{number}", daemon=True)
            for number, asked in enumerate(self._asked)
        ]
        for thread in self._threads:
            thread.start()

    def do(self, key: str, step: Callable[[], object]) -> None:
        """Have a step done after all that was asked for this key before: the same thread does it."""
        if not self._is_over:
            self._asked[hash(key) % HANDS].put(step)
        elif not sys.is_finalizing():
            # The process ends. What is given back now must be given back here; later nothing can be.
            step()

    async def done(self, key: str, step: Callable[[], T], unheard: Callable[[T], object] | None = None) -> T:
        """What a step gives, which a thread does. A step that has begun is done to its end, whatever becomes of us.

        One that has not, and that may be `unheard`, is left out once nobody waits for it any more. `unheard` is given
        what came of it when there is no loop any more to tell.
        """
        errand = _Errand(step, unheard)
        self.do(key, errand)
        try:
            return await errand.answer  # type: ignore[no-any-return]  # it is of what the step gives
        except BaseException:
            errand.is_wanted = unheard is None
            raise

    def finish(self) -> None:
        """Do what was asked for, and then no more."""
        for asked in self._asked:
            asked.put(None)
        until = time.monotonic() + LAST
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._is_over = True

    def _go(self, asked: SimpleQueue[Callable[[], object] | None]) -> None:
        leave_signals_to_main()
        while step := asked.get():
            try:
                step()
            except Exception:
                logger.exception("what was asked for a coroutine failed")
            step = None


class _Errand:
    """One step, and the loop that waits for it."""

    def __init__(self, step: Callable[[], Any], unheard: Callable[[Any], object] | None) -> None:
        self.is_wanted = True
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = self._loop.create_future()
        self._step = step
        self._unheard = unheard

    def __call__(self) -> None:
        if not self.is_wanted:
            return
        try:
            result = self._step()
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
            self._tell(self._failed, error)
            return
        if not self._tell(self._answered, result) and self._unheard:
            self._unheard(result)

    def _tell(self, how: Callable[[Any], None], what: Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(how, what)
        except RuntimeError:
            # The loop is closed.
            return False
        return True

    def _answered(self, result: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def _failed(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


_mine: list[Hands] = []
_mutex = threading.Lock()


def mine() -> Hands:
    """Those of this process, made when they are first needed."""
    if not _mine:
        with _mutex:
            if not _mine:
                _mine.append(Hands())
    return _mine[0]


def _in_child() -> None:
    global _mutex  # noqa: PLW0603 - another thread of the parent may have had it
    _mutex = threading.Lock()
    _mine.clear()


def _at_exit() -> None:
    for hands in _mine:
        hands.finish()


os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
