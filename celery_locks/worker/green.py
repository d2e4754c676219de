"""Breaks off the jobs of a worker whose jobs are greenlets, so that each gives back its key before the worker is gone.

A signal finds such a worker mostly where nobody may wait, in the greenlet that waits for all others. Celery's cold
shutdown waits there: for the time of a soft shutdown, and for its backend at each job that it breaks off. The first of
that fails, and what is not broken off by then ends with its process, unheard. So a greenlet of its own does it, and the
handler of the signal does nothing.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from celery.apps import worker as program
from celery.utils import log
from celery.worker import state
from kombu.common import ignore_errors

from celery_locks.closing import GRACE
from celery_locks.worker.request import LockedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

logger = log.get_logger("celery_locks.worker")

#: What has begun while the others are broken off is looked for this often, in seconds.
LOOK = 0.1
#: A worker that takes messages hears of its end within two seconds. One that waits for a slot takes none.
HEARD = 3.0


class _Nobody:
    """What a signal's handler finds in the place of the worker's consumer: there is nothing to do."""

    connection = task_consumer = pool = None

    def cancel_active_requests(self) -> None:
        """Break off nothing."""


class Cold:
    """A cold shutdown of a worker whose jobs are greenlets. Made by Celery 5.5 and later, which breaks off its jobs."""

    def __init__(self, w: Any, wait: Callable[[], None]) -> None:
        self._worker, self._wait = w, wait
        self._consumer: Any = None
        self._break_off: Callable[[], object] = bool
        self._doer: int | None = None
        self._is_over = threading.Event()
        self._has_broken_off = threading.Event()
        self._has_stopped = threading.Event()
        self._terminate = w.terminate
        w.wait_for_soft_shutdown, w.terminate = self.wait, self.terminate

    def wait(self) -> None:
        """Have it done by another, when a signal's handler asks for it; and do it, when that one does."""
        if self._doer == threading.get_ident():
            self._wait()
        elif self._consumer is None:
            self._consumer, self._worker.consumer = self._worker.consumer, _Nobody()
            self._worker.pool.spawn_n(self._do)

    def terminate(self, *given: Any, **named: Any) -> None:
        """End the worker, when its jobs are broken off: one that had no slot until then begins when another ends."""
        self._has_stopped.set()
        if self._consumer is not None:
            while not self._is_over.wait(LOOK):
                if self._has_broken_off.is_set():
                    self._break_off()
        self._terminate(*given, **named)

    def _do(self) -> None:
        self._doer = threading.get_ident()
        consumer = self._worker.consumer = self._consumer
        self._break_off, consumer.cancel_active_requests = consumer.cancel_active_requests, self._cancel
        try:
            if consumer.task_consumer:
                ignore_errors(consumer, consumer.task_consumer.cancel)
            # It may be given one more that it asked for before. What goes back to a queue is to go to another worker.
            self._has_stopped.wait(HEARD)
            program.on_cold_shutdown(self._worker)  # type: ignore[attr-defined]  # its stubs lack it
        except Exception:
            logger.exception("the worker ends without having broken off its jobs")
        finally:
            self._is_over.set()

    def _cancel(self) -> None:
        """Break them off, as a second signal wishes too, whose handler must not wait."""
        if self._doer == threading.get_ident():
            self._break_off()
            self._has_broken_off.set()
        else:
            self._worker.pool.spawn_n(self._break_off)


def break_off(pool: Any, longest: float = GRACE) -> None:
    """Break off what still runs under a lock, and wait for it to give that back: the process is about to end."""
    jobs = [(request, _greenlet(pool, request)) for request in state.active_requests if _is_locked(request)]
    for request, greenlet in jobs:
        if hasattr(pool, "_pool_map"):
            pool.terminate_job(request.worker_pid)
        elif greenlet is not None:
            greenlet.kill(block=False)
    until = time.monotonic() + longest
    while any(greenlet is not None and not greenlet.dead for _, greenlet in jobs) and time.monotonic() < until:
        time.sleep(0.01)


def _is_locked(request: Any) -> bool:
    return isinstance(request, LockedRequest) and request.plan is not None


def _greenlet(pool: Any, request: Any) -> Any:
    # Before Celery 5.5 a pool of gevent knows its greenlets by nothing else.
    result = request._apply_result  # noqa: SLF001
    return getattr(pool, "_pool_map", {}).get(request.worker_pid) or (result and result())
