"""A connection to a server in which the locks of one process live."""

from __future__ import annotations

import abc
import contextlib
import math
import os
import select
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celery_locks.lease import Busy, Holding

# Only these say that the other end is gone without taking an answer for it, so that any thread may look at any time.
_GONE = getattr(select, "POLLRDHUP", 0)
_READABLE, _WRITABLE = 1, 4


class Trouble(Exception):
    """What stands between a request and its answer; its text is the client's or the server's."""


class Broken(Trouble):
    """The connection is over, and with it all that lived in it."""


class Unheard(Trouble):
    """No answer in time. It may still come, and is heard before the next request."""


class Refused(Trouble):
    """The server answered that it will not."""


class Times(NamedTuple):
    """How long we wait for an answer, and how long the server waits for a request before it ends the session."""

    timeout: float
    idle_timeout: float


class Taken(NamedTuple):
    """The answer to a request that got its key. The place is what is really locked, and moves when a key is forced."""

    fence: int
    place: int


@dataclass(eq=False)
class Held:
    """A key that an owner has, or may have, in a session. No fence: the answer to its request was not heard."""

    name: bytes
    prefix: str
    key: str
    owner: str
    fence: int = 0
    place: int = 0

    def note(self, taken: Taken) -> None:
        """It is ours, and the answer was heard."""
        self.place, self.fence = taken.place, taken.fence


class Session(abc.ABC):
    """One connection, and how to speak to its server. Whoever speaks holds the mutex of the room it is in.

    An interrupt (a soft time limit, Ctrl-C) between request and answer does not end the connection, for all locks of
    the process live in it: the answer is heard, and thrown away, before the next request.
    """

    def __init__(self, fd: int, times: Times, clock: Callable[[], float]) -> None:
        self.fd = fd
        self.times = times
        self.ended = False
        #: When, by the monotonic clock, the verb that speaks is to be through; None: each request has its own timeout.
        self.until: float | None = None
        self._deadline = math.inf
        #: There is more to sweep away than was swept.
        self.is_behind = False
        #: When the last request left that was answered. The server cannot have waited for longer than since then.
        self.heard = clock()
        self._clock = clock
        #: The thread that pings, once it is started.
        self.keeper: threading.Thread | None = None
        # A plain lock as a signal: no interrupt can leave it in a state that hangs.
        self._awake = threading.Lock()
        self._awake.acquire()
        _sessions.add(self)

    def is_alive(self) -> bool:
        """Whether what was taken in it can still be ours: any thread may ask at any time.

        After a silence of `idle_timeout` the server may have ended it, also when a cut network hides that from us.
        """
        fresh = self._clock() < self.heard + self.times.idle_timeout
        return not self.ended and fresh and not is_hung_up(self.fd)

    def end(self) -> None:
        """Close the connection: the server frees what was taken in it. May be repeated, after an interrupt too."""
        self.ended = True
        self.wake()
        self.close()

    def rest(self, seconds: float) -> None:
        """Let the keeper wait until it is woken, for so long at most."""
        self._awake.acquire(timeout=seconds)

    def wake(self) -> None:
        """There is something to do for the keeper."""
        with contextlib.suppress(RuntimeError):
            self._awake.release()

    def listen(self) -> None:
        """From now on an answer is awaited."""
        self._deadline = time.monotonic() + self.times.timeout if self.until is None else self.until

    def wait(self, *, writing: bool = False) -> None:
        """Wait until there is something to read, or room to write. Raises `Unheard` when our patience is over."""
        if not is_ready(self.fd, max(0.0, self._deadline - time.monotonic()), writing=writing):
            raise Unheard(f"no answer within {self.times.timeout:g} s")

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection without a word, or its server would hear us."""
        self.ended = True
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, self.fd, inheritable=False)
        os.close(nowhere)

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connection."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Hear, and throw away, the answer that an interrupted request has left behind."""

    @abc.abstractmethod
    def ping(self) -> None:
        """Say something, so that the server does not take us for dead."""

    @abc.abstractmethod
    def sweep(self) -> None:
        """Take away a few rows of keys that nobody used for long, and note whether there are more."""

    @abc.abstractmethod
    def take(self, held: Held) -> Taken | Busy:
        """Take the key, if nobody has it, and write down whose it is."""

    @abc.abstractmethod
    def still(self, held: Iterable[Held]) -> set[bytes]:
        """Names of those that are still ours, in one round trip. The others were forced from us."""

    @abc.abstractmethod
    def give_back(self, held: Held) -> bool:
        """Free the key; False when it had been forced from us."""

    @abc.abstractmethod
    def undo(self, held: Held) -> None:
        """Free whatever a request may have taken whose answer was not heard."""

    @abc.abstractmethod
    def look(self, name: bytes) -> Held | None:
        """Who has the key now."""

    @abc.abstractmethod
    def page(self, prefix: str, after: bytes) -> list[tuple[bytes, Holding]]:
        """Some of the keys that are taken now, in the order of their names, behind that one."""

    @abc.abstractmethod
    def force(self, name: bytes) -> bool:
        """Move the key to a free place, so that its holder's lock protects nothing; False when nobody has it."""


def is_hung_up(fd: int) -> bool:
    """Whether the other end has closed the connection; unheard answers do not count."""
    if not hasattr(select, "poll"):
        return False  # eventlet takes it away
    poll = select.poll()
    poll.register(fd, _GONE)
    return bool(poll.poll(0))


def is_ready(fd: int, seconds: float, *, writing: bool = False) -> bool:
    """Wait until there is something to read, or room to write, for so long at most."""
    if not hasattr(select, "poll"):
        return any(select.select([fd], [fd] if writing else [], [], seconds))
    poll = select.poll()
    poll.register(fd, _READABLE | (_WRITABLE if writing else 0))
    return bool(poll.poll(seconds * 1000))


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
#: Held while a connection is made: no fork between that and its being known here, for a child that keeps a copy open
#: would keep the locks of a parent that was killed.
opening = threading.RLock()


def _abandon_copies() -> None:
    for session in list(_sessions):
        if not session.ended:
            session.abandon()
    opening.release()


os.register_at_fork(before=opening.acquire, after_in_parent=opening.release, after_in_child=_abandon_copies)
