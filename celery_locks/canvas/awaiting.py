"""Members of a group that are tried again later: until then their process sees to it that the lease lasts.

Their siblings in other processes set it to their own length, each time that one of them begins, beats or ends.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Verdict

if TYPE_CHECKING:
    from celery_locks.guard import Guard
    from celery_locks.lease import Lease


logger = logging.getLogger("celery_locks.canvas")


class _Awaited(NamedTuple):
    """A lease that is to last until a message is due, and for a while after that."""

    guard: Guard
    lease: Lease
    due: float
    after: float
    beat: float

    def left(self) -> float:
        """Seconds until it is due."""
        return self.due - self.guard.store.clock()

    def renewed(self) -> bool:
        """Have it last; False when it is gone, or was seen to for the last time."""
        left = self.left()
        self.lease.ttl = max(0.0, left) + self.after
        try:
            verdict = self.guard.verbs(self.lease.claim).renew([self.lease])[0]
        except Exception as error:
            # Whatever it is: the leases of others depend on this thread too.
            expected = isinstance(error, StoreUnavailable)
            logger.warning("no answer for %s, trying again: %s", self.lease.claim.shown, error, exc_info=not expected)
            return left > 0
        return verdict is not Verdict.LOST and left > 0


_awaited: dict[str, _Awaited] = {}
_mutex = threading.RLock()
_news = threading.Event()
_thread: threading.Thread | None = None


def _start_afresh() -> None:
    global _mutex, _news, _thread
    _mutex, _news, _thread = threading.RLock(), threading.Event(), None
    _awaited.clear()


os.register_at_fork(after_in_child=_start_afresh)


def awaits(guard: Guard, lease: Lease, left: float, after: float, beat: float) -> None:
    """A member comes again after so many seconds: the lease lasts until then, and `after` that for its message."""
    global _thread  # noqa: PLW0603 - one for all, while there are any
    # The one that its siblings here share has a length, and an end, of its own.
    new = _Awaited(guard, copy.copy(lease), guard.store.clock() + left, after, beat)
    with _mutex:
        before = _awaited.get(lease.owner)
        if before is None or before.due < new.due:
            _awaited[lease.owner] = new
        if _thread is None:
            _thread = threading.Thread(target=_go, name="celery_locks-awaiting", daemon=True)
            _thread.start()
    _news.set()


def look() -> float | None:
    """Renew what is awaited. Seconds until the next look; None when there is nothing left to see to."""
    global _thread  # noqa: PLW0603 - see above
    with _mutex:
        waiting = [*_awaited.values()]
    for each in waiting:
        if not each.renewed():
            with _mutex:
                if _awaited.get(each.lease.owner) is each:
                    del _awaited[each.lease.owner]
    with _mutex:
        if not _awaited:
            _thread = None
            return None
        return min(max(0.0, min(each.beat, each.left())) for each in _awaited.values())


def _go() -> None:
    while (nap := look()) is not None:
        _news.wait(nap)
        _news.clear()
