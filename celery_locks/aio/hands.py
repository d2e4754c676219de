"""A few threads that speak to the stores for coroutines: what one does there may wait, what a loop does may not."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from celery_locks.rounds import leave_signals_to_main

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: So many threads a process, whatever the number of locks, stores and loops.
HANDS = 4

_hands: list[ThreadPoolExecutor] = []


def do(key: str, step: Callable[[], object]) -> None:
    """Have a step done after all that was asked for this key before: the same thread does it."""
    try:
        _hand(key).submit(step)
    except RuntimeError:
        # The interpreter ends, and takes nothing more. What is given back now must be given back here.
        step()


async def done(key: str, step: Callable[[], T], unheard: Callable[[T], object] | None = None) -> T:
    """What a step gives, which a thread does. A step that has begun is done to its end, whatever becomes of us.

    One that has not, and that can be `unheard`, is left out once nobody waits for it any more. `unheard` is given
    what came of it when there is no loop any more to tell.
    """
    errand = _Errand(step, unheard)
    do(key, errand)
    try:
        return await errand.answer  # type: ignore[no-any-return]  # it is of what the step gives
    except BaseException:
        errand.is_wanted = unheard is None
        raise


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


def _hand(key: str) -> ThreadPoolExecutor:
    if not _hands:
        # Their threads are started when there is something to do. Of two loops that come here at once one wins.
        made = [ThreadPoolExecutor(1, f"celery_locks-{number}", leave_signals_to_main) for number in range(HANDS)]
        _hands.extend(made)
    return _hands[hash(key) % HANDS]


# A child has none of its parent's threads, and asks for none of what they had still to do.
os.register_at_fork(after_in_child=_hands.clear)
