"""Attends, in a worker's main process, to jobs of its queues that wait: calls each when its turn or its time comes."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from celery_locks import events, signals
from celery_locks.errors import LockError
from celery_locks.rounds import leave_signals_to_main
from celery_locks.rq import house
from celery_locks.rq.crowded import Crowded
from celery_locks.rq.waiter import Waiter
from celery_locks.rq.waits import ATTENDED, Room

if TYPE_CHECKING:
    from redis import Redis

    from celery_locks.rq.horse import Mail
    from celery_locks.rq.waits import Wait

logger = logging.getLogger("celery_locks.rq")

#: What waits is looked at this often, in seconds: what was put there by a worker that is no more, or is none of ours.
TICK = 1.5
#: After RQ's Redis could not be reached it is tried again after this many seconds.
AGAIN = 1.0
#: A job that is in line may be told so often to wait for longer, and for so long in all: as a Celery worker does.
LOOK_AFTER, LONGEST = 30.0, 600.0
#: A thread that is to end has so many seconds.
LAST = 2.0


class Attending:
    """The waiting jobs of some queues, as far as this worker attends to them. All is done in one thread."""

    def __init__(self, connection: Redis, queues: list[str], mail: Mail) -> None:
        self._rooms = [Room(name, connection) for name in dict.fromkeys(queues)]
        self._mail = mail
        self._waiters: dict[str, Waiter] = {}
        #: Those whose turn has come, from threads of wakers, with their tickets of now.
        self._called: deque[tuple[Waiter, str]] = deque()
        self._crowded = Crowded(self._waiters.values)
        self._tick_at = 0.0
        self._ticked = time.monotonic()
        self._is_open = True
        self._is_looking = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread = threading.Thread(target=self._go, name="celery_locks-attending", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Attend to none any more: others may at once."""
        self._is_open = False
        self._mail.send()
        if self._thread:
            self._thread.join(LAST)
        # A thread that hangs for longer may come back at any moment.
        waiters = list(self._waiters.values())
        try:
            for room in self._rooms:
                room.abandon([each.job_id for each in waiters if each.room is room])
        except RedisError as error:
            logger.info("those who wait are taken over in a moment: %s", error)
        for guard in {each.guard for each in waiters if each.guard}:
            guard.leave_lines()

    def has_some(self) -> bool:
        """Whether jobs wait here, or are about to: those that nobody attends to. Not those of other workers."""
        # In this order: none is overlooked while it is taken up.
        return any(room.has_forlorn() for room in self._rooms) or self._is_looking or bool(self._waiters)

    def _go(self) -> None:
        leave_signals_to_main()
        poll = select.poll()
        poll.register(self._mail.fd, select.POLLIN)
        while self._is_open:
            poll.poll(1000 * max(0.0, min(self._next() - time.monotonic(), TICK)))
            try:
                self._round()
            except Exception as error:
                known = isinstance(error, (RedisError, LockError))
                logger.warning("those who wait cannot be attended to, trying again: %s", error, exc_info=not known)
                time.sleep(AGAIN)

    def _next(self) -> float:
        now, clock = time.monotonic(), time.time()
        dues = (now + each.due - clock for each in self._waiters.values())
        return min((self._tick_at, self._crowded.look_at, *dues))

    def _round(self) -> None:
        letters = self._mail.read()
        for letter in letters:
            if "store" in letter:
                house.learn(letter["store"])
        if any("waits" in letter for letter in letters) or time.monotonic() >= self._tick_at:
            self._tick()
        while self._called:
            self._call(*self._called[0])
            # Only now: it is called again when RQ's Redis could not be told.
            self._called.popleft()
        for waiter in [each for each in self._waiters.values() if each.due <= time.time()]:
            self._is_over(waiter)
        self._crowded.look()

    def _tick(self) -> None:
        """Say that we are here still, and take up what nobody attends to."""
        if time.monotonic() - self._ticked > ATTENDED:
            # We were stopped: by now others attend to ours.
            self._forget_all()
        self._is_looking = True
        for room in self._rooms:
            self._look(room)
        self._is_looking = False
        self._ticked = time.monotonic()
        self._tick_at = self._ticked + TICK

    def _look(self, room: Room) -> None:
        own = [job_id for job_id, each in self._waiters.items() if each.room is room]
        gone, taken = room.attend(own)
        for job_id in gone:
            self._forget(self._waiters.pop(job_id), leaves=True)
        for job_id, wait in taken.items():
            self._take_up(room, job_id, wait)

    def _take_up(self, room: Room, job_id: str, wait: Wait) -> None:
        if before := self._waiters.pop(job_id, None):
            self._forget(before, leaves=not before.shares_place(wait))
        locks = house.known(wait.store)
        waiter = Waiter(room, job_id, wait, locks.guard if locks else None, self._woken)
        self._waiters[job_id] = waiter
        if not self._crowded.keeps(waiter):
            waiter.line_up()

    def _woken(self, waiter: Waiter, ticket: str) -> None:
        self._called.append((waiter, ticket))
        self._mail.send()

    def _call(self, waiter: Waiter, ticket: str) -> None:
        """Its turn has come: it goes to the front of its queue."""
        if self._waiters.get(waiter.job_id) is not waiter:
            return
        waiter.dated(ticket)
        if self._moves(waiter, at_front=True) and waiter.line:
            self._crowded.expect(waiter)
            if signals.woken:
                signals.woken.send(_woken(waiter))

    def _is_over(self, waiter: Waiter) -> None:
        """Its countdown is: it may wait on for its turn, or goes to the end of its queue."""
        if self._crowded.has(waiter) or waiter.may_wait(LONGEST):
            waiter.due += LOOK_AFTER
            waiter.room.extend(waiter.job_id, waiter.due)
        else:
            self._moves(waiter, at_front=False)

    def _moves(self, waiter: Waiter, *, at_front: bool) -> bool:
        moved = waiter.room.move(waiter.job_id, waiter.wait, at_front=at_front)
        del self._waiters[waiter.job_id]
        # One that has its place comes back to it by its ticket.
        self._forget(waiter, leaves=not moved)
        return moved

    def _forget(self, waiter: Waiter, *, leaves: bool) -> None:
        self._crowded.forget(waiter)
        waiter.forget(leaves=leaves)

    def _forget_all(self) -> None:
        for waiter in self._waiters.values():
            self._forget(waiter, leaves=False)
        self._waiters.clear()


def _woken(waiter: Waiter) -> Any:
    wait = waiter.wait
    # It has no owner before it asks for its key.
    name = f"{wait.task}[{waiter.job_id}]"
    return events.Woken(wait.key or "", name, wait.waited, wait.requeues, task=wait.task, task_id=waiter.job_id)
