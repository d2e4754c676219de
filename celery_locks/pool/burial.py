"""Gives back what a dead process of the pool held, or may have asked for."""

from __future__ import annotations

import logging
import math
import threading
import time
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from celery_locks import events, keepers, signals
from celery_locks.board import LEAVING
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim, Lease
from celery_locks.loss import lose
from celery_locks.rounds import leave_signals_to_main
from celery_locks.ticket import Stance, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from celery_locks.pool.child import Child
    from celery_locks.record import Entry

logger = logging.getLogger("celery_locks.worker")

#: What a dead process held is given back once more after this many seconds: a request of its own may come late.
ONCE_MORE = 1.0
#: How many keys a log line names.
_SHOWN = 3


class Left(NamedTuple):
    """What was in a slot of a process that died: a claim, how far it had come, and its lease if we kept that."""

    entry: Entry
    state: int
    child: Child | None
    ttl: float
    fence: int = 0
    #: The key stays taken until then, if its job had begun.
    until: float = -math.inf

    @property
    def lease(self) -> Lease:
        """What is given back."""
        entry = self.entry
        ticket = Ticket(entry.ticket, Stance.GOES) if entry.ticket else None
        claim = Claim(entry.key, entry.owner, self.ttl, entry.task, entry.task_id, ticket, others=entry.others)
        lease = Lease(claim, self.fence, deadline=math.inf)
        lease.until = self.until
        return lease


def bury(left: Iterable[Left]) -> None:
    """Give it all back, a thread for each store: one that hangs must not hold up the others."""

    def keeper(each: Left) -> int:
        return each.entry.keeper

    for _, of_one in groupby(sorted(left, key=keeper), keeper):
        _begin(list(of_one))


def await_done(longest: float) -> None:
    """Wait for what is being given back: this process is about to end, and its threads with it."""
    until = time.monotonic() + longest
    # A copy is made in one step: another thread may begin to give something back meanwhile.
    for done in list(_burying):
        done.wait(max(0.0, until - time.monotonic()))


_burying: set[threading.Event] = set()


def _begin(left: list[Left]) -> None:
    done = threading.Event()
    _burying.add(done)
    try:
        threading.Thread(target=_bury, args=(left, done), name="celery_locks-dead", daemon=True).start()
    except RuntimeError as error:
        logger.warning("%r: a dead process's locks are given back without a thread, which holds up the others", error)
        _bury(left, done)


def _bury(left: list[Left], done: threading.Event) -> None:
    leave_signals_to_main()
    try:
        give_back(left)
        for each in left:
            # It found that out itself and ended for it.
            if each.child and (reason := each.child.lost_by_itself()):
                lose(each.child.lease, reason)
    finally:
        _burying.discard(done)
        done.set()


def give_back(left: Sequence[Left], clock: Callable[[], float] = time.monotonic) -> None:
    """Give it back, once more a moment later, and for as long as it may be held and the store does not answer."""
    until = clock() + max(each.ttl for each in left)
    answers = _tried(left, {})
    time.sleep(ONCE_MORE)
    answers = _tried(left, answers)
    while None in answers.values() and clock() < until:
        time.sleep(ONCE_MORE)
        answers = _tried([each for each in left if answers[each.entry.owner] is None], answers)


def _tried(left: Sequence[Left], before: dict[str, bool | None]) -> dict[str, bool | None]:
    answers = {each.entry.owner: _is_given_back(each) for each in left}
    # One that was giving it back may have done so: the store says yes to the second who does.
    freed = [each for each in left if each.state != LEAVING and answers[each.entry.owner]]
    if unsaid := [each for each in freed if not before.get(each.entry.owner)]:
        _say_freed(unsaid)
    return before | answers


def _say_freed(freed: list[Left]) -> None:
    keys = ", ".join(each.lease.claim.shown for each in freed[:_SHOWN]) + (", ..." if len(freed) > _SHOWN else "")
    logger.warning("process %d died and held %s: given back", freed[0].entry.pid, keys)
    for claim, pid in [(each.lease.claim, each.entry.pid) for each in freed]:
        signals.freed.send(events.Freed(claim.key, claim.owner, pid=pid, **events.of(claim)))


def _is_given_back(left: Left) -> bool | None:
    """Release what a dead process had; None when the store does not say."""
    entry, keeper = left.entry, keepers.numbered(left.entry.keeper)
    if keeper is None:
        return False
    try:
        return keeper.give_back(left.lease)
    except StoreUnavailable as error:
        shown = left.lease.claim.shown
        logger.warning("%s of the dead process %d may stay taken for %g s: %s", shown, entry.pid, left.ttl, error)
        return None
