"""A store whose locks live in a session: the verbs, whatever the server."""

from __future__ import annotations

import abc
import fnmatch
import os
import time
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store
from celery_locks.stores.living import SessionLease
from celery_locks.stores.naming import require_name
from celery_locks.stores.sessions.room import Room
from celery_locks.stores.sessions.session import Broken, Held, Trouble, Unheard

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Concatenate

    from celery_locks.stores.sessions.session import Session, Times

P = ParamSpec("P")
T = TypeVar("T")


class Server(Protocol):
    """Where sessions are had, and what to do when one is not."""

    @property
    def name(self) -> str:
        """Its address, without a password."""

    @property
    def times(self) -> Times:
        """How long a verb may take, and how long a session may be silent."""

    def connect(self, clock: Callable[[], float]) -> Session:
        """A new session. Raises `Trouble`, or `LockConfigError` when there can never be one."""

    def remedy(self, text: str) -> str:
        """What to do about an error with this text."""


class ConnectionLease(SessionLease):
    """A lease that lives in a connection to a database."""

    __slots__ = ("_session",)
    over = "the connection it lived in is over, or was silent for so long that the server may have ended it"

    def __init__(self, claim: Claim, fence: int, session: Session, clock: Callable[[], float]) -> None:
        super().__init__(claim, fence, None, clock)
        self._session = session

    def lives(self) -> bool:
        return self._session.is_alive()


class SessionStore(Store, Inspects):
    """Promises exclusion between all sessions of one server. A lock ends with its session, and that with its process.

    All locks of a process live in one connection. When it breaks, all of them are lost.
    """

    in_connection = True

    def __init__(
        self, server: Server, *, prefix: str = DEFAULT_PREFIX, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._server = server
        # A forked child has a room of its own. Its parent's is kept: what is in it must not be closed.
        self._rooms: dict[int, Room] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._server.name}>"

    def acquire(self, claim: Claim) -> Lease | Busy:
        return self._do(self._acquire, claim, self._name(require_name(claim.key)))

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        return self._do(self._renew, leases)

    def release(self, claim: Claim) -> bool:
        return self._do(self._release, claim, self._name(claim.key))

    def undo(self, claim: Claim) -> None:
        self._do(self._undo, claim, self._name(claim.key))

    def inspect(self, key: str) -> Holding | None:
        held = self._do(lambda room: room.settled().look(self._name(key)))
        # Two keys may share a name, where names are short.
        if held is None or (held.prefix, held.key) != (self.prefix, key):
            return None
        return Holding(key, held.owner, held.fence, None)

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        last = b""
        while page := self._do(lambda room, after: room.settled().page(self.prefix, after), last):
            last = page[-1][0]
            yield from (holding for _, holding in page if fnmatch.fnmatchcase(holding.key, pattern))

    def force_release(self, key: str) -> bool:
        """Free the key whoever has it. Its holder learns of it at its next beat; its other keys stay its own."""
        return self._do(lambda room: room.settled().force(self._name(key)))

    def close(self) -> None:
        """Close the connection of this process; the locks that live in it end."""
        room = self._rooms.pop(os.getpid(), None)
        if room is not None:
            with room.mutex:
                room.lose()

    @abc.abstractmethod
    def _name(self, key: str) -> bytes:
        """What the server knows a key of this store by."""

    def _do(self, step: Callable[Concatenate[Room, P], T], *arguments: P.args, **named: P.kwargs) -> T:
        room = self._room()
        until = room.patience()
        with room.mutex:
            room.until = until
            try:
                return step(room, *arguments, **named)
            except Trouble as trouble:
                if isinstance(trouble, Broken):
                    room.lose()
                raise self._outage(trouble) from trouble

    def _room(self) -> Room:
        pid = os.getpid()
        return self._rooms.get(pid) or self._rooms.setdefault(pid, self._new_room())

    def _new_room(self) -> Room:
        return Room(partial(self._server.connect, self.clock), self._server.times)

    def _outage(self, trouble: Trouble) -> StoreUnavailable:
        text = " ".join(str(trouble.args[0] if trouble.args else "").split())[:300] or type(trouble).__name__.lower()
        return StoreUnavailable(f"{self._server.name} cannot be used ({text}): {self._server.remedy(text)}")

    def _acquire(self, room: Room, claim: Claim, name: bytes) -> Lease | Busy:
        if room.is_done(claim, name):
            return Busy()
        session = room.settled()
        held = room.held.get(name)
        if held is not None:
            if held.fence and session.still([held]):
                ours = _is_of(held, claim)
                return ConnectionLease(claim, held.fence, session, self.clock) if ours else Busy(held.owner)
            # It was forced from its owner, or its owner was interrupted before it heard that it had it.
            session.undo(held)
            room.drop(held)
        return self._taken(room, session, Held(name, self.prefix, claim.key, claim.owner), claim)

    def _taken(self, room: Room, session: Session, held: Held, claim: Claim) -> Lease | Busy:
        # Noted before the request leaves: whoever is interrupted now must be able to give back what it may have taken.
        room.held[held.name] = held
        try:
            answer = session.take(held)
            if isinstance(answer, Busy):
                room.drop(held)
                return answer
            held.note(answer)
            return ConnectionLease(claim, held.fence, session, self.clock)
        except Broken:
            raise
        except BaseException:
            room.doom(held)
            raise

    def _renew(self, room: Room, leases: Sequence[Lease]) -> builtins.list[Verdict]:
        asked = [self._holds(room, lease) for lease in leases]
        known = [held for held in asked if held is not None]
        still = self._still(room, known) if known else set()
        return [Verdict.RENEWED if held in still else Verdict.LOST for held in asked]

    def _holds(self, room: Room, lease: Lease) -> Held | None:
        held = room.held.get(self._name(lease.key))
        return held if held and _is_of(held, lease.claim) and held.fence == lease.fence else None

    def _still(self, room: Room, asked: Collection[Held]) -> set[Held]:
        session = room.living()
        if session is None:
            return set()
        try:
            names = room.tidied(session).still(asked)
        except Broken:
            # All that lived in the connection is gone for certain: that is no outage.
            room.lose()
            return set()
        except Unheard:
            # The server may have ended the session by now.
            if room.living() is None:
                return set()
            raise
        for held in asked:
            if held.name not in names:
                room.doom(held)
        room.tidied(session)
        return {held for held in asked if held.name in names}

    def _release(self, room: Room, claim: Claim, name: bytes) -> bool:
        held = room.held.get(name)
        session = room.living() if held is not None and _is_of(held, claim) else None
        if held is None or session is None:
            return room.is_done(claim, name)
        try:
            ours = self._given_back(room, session, held)
            if ours:
                room.finish(claim, name)
            room.drop(held)
        except BaseException:
            # It is freed when the server hears of us again, or by the end of the connection.
            room.doom(held)
            room.finish(claim, name)
            raise
        return ours

    def _undo(self, room: Room, claim: Claim, name: bytes) -> None:
        held = room.held.get(name)
        session = room.living() if held is not None and _is_of(held, claim) else None
        if held is None or session is None:
            return
        try:
            self._given_back(room, session, held)
            room.drop(held)
        except BaseException:
            room.doom(held)
            raise

    def _given_back(self, room: Room, session: Session, held: Held) -> bool:
        room.tidied(session)
        if room.held.get(held.name) is not held:
            # Just now, as one that nobody wanted.
            return True
        if held.fence:
            return session.give_back(held)
        # Its owner was interrupted before it heard of its lock.
        session.undo(held)
        return True


def _is_of(held: Held, claim: Claim) -> bool:
    return (held.owner, held.key) == (claim.owner, claim.key)
