"""Has the jobs that wait in their slots put back when their worker is about to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals
from celery.concurrency import solo
from celery.worker import state

from celery_locks import closing, pooled
from celery_locks.closing import AT_ONCE, NOT, SOON, Closing
from celery_locks.worker.green import Cold, break_off

if TYPE_CHECKING:
    from collections.abc import Callable


class Ending(bootsteps.StartStopStep):
    """Calls them back, after the worker has stopped to take messages and before it stops its pool."""

    requires = ("celery.worker.components:Pool",)

    def create(self, w: Any) -> None:
        """Make what is shared with the pool: nothing is forked yet."""
        self._is_in_pool = isinstance(w.pool, solo.TaskPool)
        self._closing = closing.adopt(Closing(_asked) if self._is_in_pool else Closing())
        signals.worker_process_init.connect(_settle)
        self._is_green = getattr(w.pool, "is_green", False)
        soft = getattr(w, "wait_for_soft_shutdown", None)
        if soft is not None:
            w.wait_for_soft_shutdown = self._before(soft)
            if self._is_green:
                Cold(w, w.wait_for_soft_shutdown)

    def start(self, w: Any) -> None:
        """There is nothing to start."""

    def stop(self, w: Any) -> None:  # noqa: ARG002 - Celery's signature
        """A warm shutdown: what runs is waited for, and not what waits."""
        self._closing.begin(SOON)

    def terminate(self, w: Any) -> None:
        """A cold shutdown: the pool is ended next, whatever it does."""
        self._begin(AT_ONCE)
        if self._is_green:
            break_off(w.pool)

    def _before(self, soft: Callable[[], None]) -> Callable[[], None]:
        """From version 5.5 on a worker that is to end at once breaks off its jobs first, after a time if so set."""

        def wait() -> None:
            self._begin(SOON)
            soft()

        return wait

    def _begin(self, how: int) -> None:
        self._closing.begin(how)
        if not self._is_in_pool:
            self._closing.let_all_go()


def _settle(**_: Any) -> None:
    """A process of the pool begins, in a place that another may have left while a job of it waited."""
    if closing.mine is not None:
        closing.mine.settle(pooled.place())


def _asked() -> int:
    """How a worker is about to end that cannot say so while it runs a job itself."""
    # Zero is an exit code.
    asked = (state.should_stop, state.should_terminate)
    return NOT if all(each is None or each is False for each in asked) else SOON
