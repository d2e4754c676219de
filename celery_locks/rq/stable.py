"""What a worker's main process shares with the process that it makes for each job, and keeps of it."""

from __future__ import annotations

import json
import os
import tempfile
from typing import TYPE_CHECKING

from celery_locks.board import Board
from celery_locks.parent import Parent, adopt
from celery_locks.pool.children import Children
from celery_locks.pool.deaths import Bell
from celery_locks.rq import house

if TYPE_CHECKING:
    from celery_locks.rq.horse import Mail

#: Where a spawned process finds what is shared with it.
HORSE = "CELERY_LOCKS_RQ_HORSE"
#: A main process that ends waits so long, in seconds, until what it gives back is given back.
LAST = 2.0


class Stable:
    """One place, for a worker of RQ runs one job at a time: the board on which its process shows what it holds."""

    def __init__(self, board: Board, bell: Bell) -> None:
        self._board, self._bell = board, bell
        self._children = Children(board, bell)
        self._children.start()

    @classmethod
    def forked(cls) -> Stable:
        """That of a worker that forks: its processes have its memory."""
        return cls(Board(1), Bell())

    @classmethod
    def spawned(cls, mail: Mail) -> Stable:
        """That of a worker that spawns: its processes inherit files, and are told which."""
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
        board, bell = Board(1, fd), Bell()
        for each in (fd, bell.rope, mail.slot):
            os.set_inheritable(each, True)  # noqa: FBT003 - as it is called
        numbers = {word: locks.guard.keeper.number for word, locks in house.all_known().items()}
        os.environ[HORSE] = json.dumps({"board": fd, "rope": bell.rope, "slot": mail.slot, "keepers": numbers})
        return cls(board, bell)

    def enter(self) -> None:
        """In the process of a job: show there what it holds."""
        adopt(Parent(self._board, 0, self._bell.ring))

    def close(self) -> None:
        """In the main process, which is about to end: give back what its last job's process held, if that is dead.

        RQ ends a worker also while a job runs on, as when it cannot reach its Redis to say that it is here still.
        """
        if not _lives(self._board.regions[0].pid):
            self._children.bury_all(LAST)


def _lives(child: int) -> bool:
    try:
        return bool(child) and os.waitpid(child, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False
