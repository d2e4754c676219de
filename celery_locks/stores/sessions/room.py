"""What one process has in its session: which keys, for whom, and which of them nobody wants any more."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

from celery_locks.errors import LockError
from celery_locks.stores.sessions.session import Broken, Refused, Trouble, Unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Claim
    from celery_locks.stores.sessions.session import Held, Session, Times

#: How many owners are remembered that have released, to answer a repeated release and refuse a late acquire.
REMEMBERED = 4096
#: The server hears from us this often before it would take us for dead.
PINGS = 3
#: After a request that was not answered the next comes this soon.
SOON = 0.5
#: And while there is much to sweep away the next step comes so soon.
NEXT_STEP = 0.1


class Room:
    """The session of one process and what is held in it.

    A database lets one session take the same lock twice: that two owners of one process exclude each other is decided
    here. Everything is done under the mutex, a plain lock, whose `with` no interrupt can leave locked.
    """

    def __init__(self, connect: Callable[[], Session], times: Times) -> None:
        self.times = times
        self.mutex = threading.Lock()
        self.session: Session | None = None
        self.held: dict[bytes, Held] = {}
        self._connect = connect
        #: When the verb that has the mutex is to be through.
        self.until = 0.0
        self._done: dict[tuple[bytes, str], None] = {}
        self._doomed: list[Held] = []

    def patience(self) -> float:
        """Until when whoever comes now waits: for the mutex, and for its answers."""
        return time.monotonic() + self.times.timeout

    def settled(self) -> Session:
        """The session, connected, with nothing unheard and nothing kept that nobody wants."""
        session = self.session
        if session is None or not session.is_alive():
            self._look_at_the_time()
            session = self._connected()
        return self.tidied(session)

    def tidied(self, session: Session) -> Session:
        """A session that was seen to be alive, as above."""
        self._look_at_the_time()
        session.until = self.until
        if session.keeper is None or not session.keeper.is_alive():
            self._keep(session)
        session.finish()
        while self._doomed:
            self._undo(session, self._doomed[-1])
        return session

    def _look_at_the_time(self) -> None:
        if time.monotonic() >= self.until:
            # Another waited for an answer all the time, and none has come.
            raise Unheard(f"no answer within {self.times.timeout:g} s")

    def _connected(self) -> Session:
        self.lose()
        session = self.session = self._connect()
        # That had a timeout of its own.
        self.until = self.patience()
        return session

    def _undo(self, session: Session, doomed: Held) -> None:
        try:
            session.undo(doomed)
        except Refused as refused:
            # Better no session than one with a lock in it that nobody has.
            raise Broken(*refused.args) from refused
        self.drop(doomed)
        self._doomed.pop()

    def living(self) -> Session | None:
        """The session, if what is held here can still be ours. All is forgotten when it cannot."""
        if self.session is not None and self.session.is_alive():
            return self.session
        self.lose()
        return None

    def lose(self) -> None:
        """The session is over: whatever was taken in it is gone."""
        session, self.session = self.session, None
        self.held.clear()
        self._doomed.clear()
        if session is not None:
            session.end()

    def drop(self, held: Held) -> None:
        """It is held no more."""
        if self.held.get(held.name) is held:
            del self.held[held.name]

    def doom(self, held: Held) -> None:
        """Nobody knows whether we have it, and nobody wants it: it is given back as soon as the server listens."""
        self._doomed.append(held)
        if self.session is not None:
            self.session.wake()

    def finish(self, claim: Claim, name: bytes) -> None:
        """Note that this owner is done with the key."""
        self._done[name, claim.owner] = None
        while len(self._done) > REMEMBERED:
            # Another thread cannot be here, but an interrupt may have taken one out already.
            self._done.pop(next(iter(self._done)), None)

    def is_done(self, claim: Claim, name: bytes) -> bool:
        """Whether this owner has released the key."""
        return (name, claim.owner) in self._done

    def ping(self, session: Session) -> float | None:
        """Let the server hear of us, and say when to do so again; None when this session is no longer ours."""
        until = self.patience()
        with self.mutex:
            self.until = until
            if self.session is not session or self.living() is None:
                return None
            try:
                self.tidied(session).ping()
                session.sweep()
            except Broken:
                self.lose()
            except (Trouble, LockError):
                return min(SOON, _pause(session))
        return _pause(session)

    def _keep(self, session: Session) -> None:
        arguments = (weakref.ref(self), session)
        session.keeper = threading.Thread(target=_keep, args=arguments, name="celery_locks-session", daemon=True)
        session.keeper.start()


def _keep(room: weakref.ref[Room], session: Session) -> None:
    """Ping until the session is over, or nobody has its room any more.

    The keeper's beats do not do: they follow the ttl of a lease, which may be a day, and the server's patience is one
    for all. A process that is frozen or cut off does not ping, and its keys are freed.
    """
    pause: float | None = _pause(session)
    while pause is not None and not session.ended:
        session.rest(pause)
        here = room()
        pause = here.ping(session) if here is not None else None
        del here
    session.end()


def _pause(session: Session) -> float:
    return NEXT_STEP if session.is_behind else session.times.idle_timeout / PINGS
