"""Lets a worker's main process keep the leases of its prefork pool."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import billiard
from billiard.process import current_process
from celery import bootsteps, signals
from celery.concurrency.prefork import TaskPool

from celery_locks.annotation import lock_all
from celery_locks.board import Board
from celery_locks.events import happen_in
from celery_locks.parent import Parent, adopt
from celery_locks.pool.children import Children
from celery_locks.pool.deaths import Bell
from celery_locks.worker import stacks
from celery_locks.worker.announcing import Announcer
from celery_locks.worker.answering import share
from celery_locks.worker.carried_beat import check_beat
from celery_locks.worker.killed import remember
from celery_locks.worker.members import see_members
from celery_locks.worker.opening import open_stores
from celery_locks.worker.pools import say_limits

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("celery_locks.worker")

#: The pool may be made to grow by so many processes beyond what it was started with.
GROWTH = 32


class Keeping(bootsteps.StartStopStep):
    """Shares a board with the pool before its processes are forked, and looks after it once they are.

    It is never stopped: what is held until the last job is done is kept until then.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, w: Any, **options: Any) -> None:
        super().__init__(w, **options)
        self._children: Children | None = None
        # Before any part is made: another one would have opened the file by then.
        check_beat(w, is_carried=bool(options.get("beat")))

    def create(self, w: Any) -> None:
        """Make what is shared: nothing is forked yet, and no task is traced."""
        happen_in(w.hostname)
        lock_all(w.app)
        see_members(w.app)
        if getattr(w, "task_events", False):
            Announcer(w.app, w.hostname).install()
        say_limits(w)
        if isinstance(w.pool, TaskPool) and _is_forked(w.pool):
            open_stores()
            board, bell = Board(max(w.min_concurrency or 0, w.max_concurrency or 0) + GROWTH), Bell()
            self._born = _born(board, bell, w.hostname, says_stacks=stacks.are_wanted(w.app.conf))
            signals.worker_process_init.connect(self._born, weak=False)
            self._children = Children(board, bell)
            share(w.hostname, self._children)
            remember()

    def start(self, w: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Begin to look after what the pool holds."""
        if self._children:
            self._children.start()


def _is_forked(pool: TaskPool) -> bool:
    """Whether the processes of a pool have their parent's memory. Elsewhere each keeps its own leases."""
    forks = pool.forking_enable and billiard.get_start_method() == "fork"
    if not forks:
        logger.warning(
            "the processes of this pool are spawned, not forked: each renews its own leases from a thread, which a C"
            " call may starve, and what a dead one holds stays taken for its ttl"
        )
    return bool(forks)


def _hostname() -> str | None:
    """Which worker the process was forked for. Before Celery 5.7 the signal does not say that."""
    work = getattr(current_process(), "_target", None)
    return next((fact for fact in getattr(work, "initargs", ()) if isinstance(fact, str)), None)


def _born(board: Board, bell: Bell, hostname: str, *, says_stacks: bool) -> Callable[..., None]:
    def born(sender: Any = None, **_: Any) -> None:
        index = getattr(current_process(), "index", None)
        # There may be several workers in one process.
        if (sender or _hostname() or hostname) != hostname or index is None:
            return
        if index < len(board.regions):
            adopt(Parent(board, index, bell.ring))
            if says_stacks:
                stacks.listen(board.regions[index])
        else:
            logger.warning("the pool has grown beyond %d: process %d keeps its leases itself", index, os.getpid())

    return born
