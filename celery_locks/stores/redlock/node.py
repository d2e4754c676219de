"""One node as one thread sees it: its connection, what it owes an answer to, and what is still to be said to it."""

from __future__ import annotations

import contextlib
import random
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from celery_locks.stores.redlock.greeting import Greeting
from celery_locks.stores.redlock.link import AT_ONCE, Link
from celery_locks.stores.redlock.protocol import Answers

if TYPE_CHECKING:
    from celery_locks.stores.redlock.address import Place
    from celery_locks.stores.redlock.ask import Ask
    from celery_locks.stores.redlock.link import Watch

#: How many answers a node may owe, how many bytes may wait for it, and how many requests for one that is not there.
OWED, UNSENT, KEPT = 10_000, 1_000_000, 200
FIRST_REST, LONGEST_REST = 0.05, 5.0


class Node:
    """It never waits: what cannot be done at once is done when it is woken.

    Requests are answered in their order, so one that nobody waits for any more is simply owed, and the next goes behind
    it. A connection that owes an answer for longer than the timeout is given up.
    """

    def __init__(self, place: Place, watch: Watch, *, timeout: float, restart_delay: float) -> None:
        self.place = place
        self._watch = watch
        self._timeout = timeout
        self._restart_delay = restart_delay
        self._link: Link | None = None
        self._queue: deque[Ask] = deque(maxlen=KEPT)
        self._owed: deque[tuple[Ask, float]] = deque()
        self._rest = self._rests_until = self._since = self._counts_from = 0.0
        self._error: Exception = ConnectionError("not connected yet")
        self._addresses: list[Any] = []
        #: Whether a restart may cost it what it was told, as far as it has been asked.
        self.forgets = False
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._answers = Answers()
        self._out = b""
        self._sending = self._open = self._ready = False
        self._watched = 0
        self._greeting = Greeting(self.place, self._restart_delay)
        #: The scripts it was told since we are connected. A restart, which ends a connection, costs it all of them.
        self._known: set[bytes] = set()

    @property
    def is_ready(self) -> bool:
        """Whether it was there when last heard of."""
        return self._ready

    def hurry(self) -> None:
        """Look at once whether it is there."""
        self._rests_until = 0.0

    @property
    def owes_since(self) -> float:
        """When that was said, or last heard, to which it still owes an answer."""
        return self._owed[0][1] if self._owed else self._since

    def counts(self, now: float) -> bool:
        """Whether it has been up for long enough to know of all leases there are."""
        return now >= self._counts_from

    def give_up_waiting(self, now: float) -> None:
        """Hang up where an answer has been owed for too long: the next request is better said on a new connection."""
        if self._link and self._is_stuck(now):
            self._lose(TimeoutError("timed out"), now)

    def put(self, ask: Ask, now: float) -> None:
        """Send it now, or as soon as there is a connection. Where there can be none, the ask hears that at once."""
        if self._link is None and now >= self._rests_until:
            self._connect(now)
        if self._link is None:
            ask.failures[self] = self._error
        if self._link or ask.until > now:
            self._queue.append(ask)
        if self._ready:
            self._say(now)

    def wake(self, now: float) -> None:
        """Go on where it had to wait."""
        link = self._link
        if link is None:
            return
        self._since = now
        try:
            if self._open or self._opened(link):
                if self._out:
                    self._flush(link)
                self._hear(link, now)
        except OSError as error:
            if self._link is link:
                self._lose(error, now)

    def end(self, farewell: bytes) -> None:
        """Hang up, with a last word where that is possible between two requests."""
        link, self._link = self._link, None
        if link:
            if farewell and self._ready and not self._sending and not self._out:
                with contextlib.suppress(OSError):
                    link.send(farewell)
            link.close()

    def _is_stuck(self, now: float) -> bool:
        if not self._ready:
            return now - self._since > self._timeout
        if len(self._owed) > OWED or len(self._out) > UNSENT:
            return True
        return bool(self._owed) and now - self._owed[0][1] > self._timeout

    def _connect(self, now: float) -> None:
        try:
            self._addresses = socket.getaddrinfo(self.place.host, self.place.port, type=socket.SOCK_STREAM)
        except OSError as error:
            self._fail(error, now)
        else:
            self._reach_next(self._error, now)

    def _reach_next(self, error: Exception, now: float) -> None:
        """Try the addresses of its name, one after the other."""
        self._since = now
        while self._addresses:
            try:
                link = Link(self.place, self._addresses.pop(0))
            except OSError as refused:  # noqa: PERF203 - a name has a few addresses
                error = refused
            else:
                self._start_afresh()
                self._link = link
                self._heed(link)
                return
        self._fail(error, now)

    def _fail(self, error: Exception, now: float) -> None:
        """Leave it alone for a while, longer each time."""
        self._error = error
        self._rest = min(LONGEST_REST, max(FIRST_REST, 2 * self._rest))
        self._rests_until = now + self._rest * random.uniform(0.7, 1.0)  # noqa: S311 - no secret
        queue, self._queue = self._queue, deque(maxlen=KEPT)
        for ask in queue:
            ask.failures[self] = error
            if ask.until > now:
                self._queue.append(ask)

    def _lose(self, error: Exception, now: float) -> None:
        """The connection is gone. One that had worked may have died while nobody used it: try a new one at once."""
        link, self._link = self._link, None
        if link:
            self._watch.forget(link.number)
            link.close()
        was_open, was_ready = self._open, self._ready
        self._start_afresh()
        if was_ready:
            again = [ask for ask, _ in self._owed if ask.is_worth_repeating(self, error, now)]
            self._owed.clear()
            # Where that is too much the latest is kept: what takes back comes after what takes.
            self._queue = deque([*again, *self._queue], maxlen=KEPT)
            self._error = error
            self._connect(now)
        elif was_open:
            self._fail(error, now)
        else:
            self._reach_next(error, now)

    def _opened(self, link: Link) -> bool:
        self._open = link.opened()
        if self._open:
            self._out = self._greeting.request
        else:
            self._heed(link)
        return self._open

    def _say(self, now: float) -> None:
        while self._queue:
            ask = self._queue.popleft()
            if ask.is_wanted(now):
                self._owed.append((ask, now))
                self._out += ask.said(self._known)
        link = self._link
        if link:
            try:
                self._flush(link)
            except OSError as error:
                self._lose(error, now)

    def _flush(self, link: Link) -> None:
        while self._out:
            # Should an interrupt strike here, nobody knows how much was sent.
            self._sending = True
            sent = link.send(self._out)
            self._out = self._out[sent:]
            self._sending = False
            if not sent:
                break
        self._heed(link)

    def _heed(self, link: Link) -> None:
        events = link.wants(more=bool(self._out))
        if events != self._watched:
            self._watched = events
            self._watch.watch(self, link.number, events)

    def _hear(self, link: Link, now: float) -> None:
        while (data := link.receive()) is not None:
            if not data:
                raise ConnectionResetError("Connection closed by server")
            for answer in self._answers.feed(data):
                self._heard(answer, now)
                if self._link is not link:
                    return
            if len(data) < AT_ONCE and not link.has_more:
                return

    def _heard(self, answer: Any, now: float) -> None:
        if not self._ready:
            self._greeted(answer, now)
        elif not self._owed:
            raise ConnectionError("it answers what it was not asked")
        else:
            ask, _ = self._owed.popleft()
            if isinstance(answer, ResponseError):
                self._known.discard(ask.script)
            if more := ask.hear(self, answer, now):
                self._queue.append(more)
                self._say(now)

    def _greeted(self, answer: Any, now: float) -> None:
        try:
            self._greeting.hear(answer)
        except ResponseError as error:
            self._lose(error, now)
        else:
            if self._greeting.is_over:
                self.forgets, self._counts_from = self._greeting.forgets, self._greeting.counts_from(now)
                self._ready, self._rest = True, 0.0
                self._say(now)
