"""A lease is the answer to a claim: who holds the key, until when, and with which fence."""

from __future__ import annotations

import enum
import math
import time
from typing import TYPE_CHECKING

from celery_locks import duration
from celery_locks.claim import Busy, Claim, Holding, Verdict
from celery_locks.errors import LockError, LockLost, LockNotOwned
from celery_locks.owner import new_owner

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Busy", "Claim", "Holding", "Lease", "State", "Verdict", "new_owner"]


class State(enum.Enum):
    """What is known of a lease. UNKNOWN: the last beat had no answer, and its time is not over."""

    HELD = "held"
    UNKNOWN = "unknown"
    LOST = "lost"
    RELEASED = "released"


_OVER = (State.LOST, State.RELEASED)


class Lease:
    """A key held by one owner until a deadline, with a fence that orders it among all holders of the key.

    Or several keys: they are held together, until one of them is lost.

    The deadline is monotonic time, counted from before the request left, so that it is never later than the
    store's. `remaining` is `None` where the lock lives in a connection and has no ttl.

    A lease that says it is held was held when last heard of. Only a fence, checked by the store of record inside
    the write, proves it at the moment of a write.
    """

    __slots__ = (
        "_clock",
        "caveat",
        "claim",
        "deadline",
        "fence",
        "news",
        "reason",
        "renewer",
        "since",
        "state",
        "ttl",
        "until",
    )

    def __init__(
        self, claim: Claim, fence: int, deadline: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.claim = claim
        self.fence = fence
        self.ttl = claim.ttl
        self.deadline = deadline
        self.state = State.HELD
        self.reason = ""
        #: Why the next holder's fence may not be higher, where its store has reason to say so.
        self.caveat = ""
        self.renewer: Callable[[Lease, float], None] | None = None
        #: Called before anything is said of it, where another process keeps it.
        self.news: Callable[[Lease], None] | None = None
        self.since = 0.0
        #: Until when the key stays taken at least, whatever becomes of the work.
        self.until = -math.inf
        self._clock = clock

    @classmethod
    def unlocked(cls, claim: Claim) -> Lease:
        """What a job gets that was told to run although its store is down: never held, and with the lowest fence."""
        lease = cls(claim, fence=0, deadline=-math.inf)
        lease.lose("the store was down and the task runs unlocked (lock_on_outage='run')")
        return lease

    @property
    def key(self) -> str:
        """The key it is held on; of several the first."""
        return self.claim.key

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys it is held on, sorted."""
        return self.claim.keys

    @property
    def fences(self) -> dict[str, int]:
        """Its fence for each of its keys."""
        return {key: self.fence_of(key) for key in self.keys}

    def fence_of(self, key: str) -> int:
        """Its fence for one of its keys."""
        if key != self.claim.key and key not in self.claim.others:
            raise LockNotOwned(f"the lease of {self.claim.shown} is none of {key!r}: take the lock on that key", key)
        return self.fence

    def of(self, key: str) -> Lease:
        """The lease as one of this key alone, which ends when this one does: for what only this key guards."""
        if not self.claim.others and key == self.key:
            return self
        part = Lease(self.claim.of(key), self.fence_of(key), self.deadline, self._clock)
        part.ttl, part.caveat, part.news = self.ttl, self.caveat, self._tell
        part.renewer = lambda _, ttl: self.renew(ttl)
        return part

    @property
    def owner(self) -> str:
        """The execution that holds it."""
        return self.claim.owner

    @property
    def is_over(self) -> bool:
        """Whether it is known to have ended, lost or released."""
        return self.state in _OVER

    @property
    def remaining(self) -> float | None:
        """Seconds until it ends without renewal; 0.0 once over, None where it has no ttl."""
        self.hear()
        if self.state in _OVER:
            return 0.0
        return None if self.deadline is None else max(0.0, self.deadline - self._clock())

    def held(self) -> bool:
        """Whether it was ours when last heard of and its time is not over."""
        self.hear()
        return self.state not in _OVER and (self.deadline is None or self._clock() < self.deadline)

    def hear(self) -> None:
        """Take note of what another process that keeps it has to say."""
        if self.news is not None:
            self.news(self)

    def ensure_held(self) -> None:
        """Raise `LockLost` unless the lease is held: to be called before a step that cannot be undone."""
        if not self.held():
            raise self.loss()

    def renew(self, ttl: float | None = None) -> None:
        """Extend it now, by `ttl` seconds from now on if given. Raises `LockLost` when it is no longer ours."""
        if self.renewer is None:
            raise LockError(f"the lease of {self.claim.shown} cannot be renewed here: nothing keeps it", self.key)
        self.renewer(self, self.ttl if ttl is None else duration.ttl("ttl", ttl, f"the lease of {self.claim.shown}"))

    def extend(self, deadline: float | None) -> None:
        """Note that the store has renewed it. What is over stays over, however late an answer comes."""
        if self.state not in _OVER:
            self.deadline, self.state = deadline, State.HELD

    def shorten(self, deadline: float) -> None:
        """Note that it may end then, for a shorter renewal is on its way and its answer may be lost."""
        if self.deadline is not None:
            self.deadline = min(self.deadline, deadline)

    def doubt(self) -> None:
        """Note that a beat had no answer. Not knowing is not losing."""
        if self.state is State.HELD:
            self.state = State.UNKNOWN

    def lose(self, reason: str) -> bool:
        """Note that it is gone; True the first time only, so that a loss is reported once."""
        if self.state in _OVER:
            return False
        self.state, self.reason = State.LOST, reason
        return True

    def loss(self) -> LockLost:
        """The error that says how this lease ended."""
        reason = self.reason or ("it was released" if self.state is State.RELEASED else "its ttl ran out")
        mend = "the lease's fence" if self.deadline is None else "a longer ttl, a heartbeat, or the lease's fence"
        return LockLost(
            f"the lease of {self.claim.shown} is gone: {reason}. Another owner may hold the key: undo or check what was"
            f" done, and consider {mend}",
            self.key,
        )

    def _tell(self, part: Lease) -> None:
        """Let a part of it know how it fares."""
        if not self.held() and not self.reason:
            # One that lives in a session knows why when it is asked.
            self.loss()
        part.ttl, part.deadline, part.state, part.reason = self.ttl, self.deadline, self.state, self.reason
        if self.reason:
            part.lose(self.reason)

    def __repr__(self) -> str:
        fence = self.fences if self.claim.others else self.fence
        return f"<Lease {self.claim.shown} of {self.owner} fence={fence} {self.state.value}>"
