"""A claim asks for a key; a lease is the answer: who holds it, until when, and with which fence."""

from __future__ import annotations

import enum
import functools
import math
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from celery_locks import duration
from celery_locks.errors import LockError, LockLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.ticket import Ticket


class Claim(NamedTuple):
    """One owner asks for one key. The same owner asking again asks for the same lease.

    With a ticket it joins the key's line when the key is taken, where the store keeps lines.
    """

    key: str
    owner: str
    ttl: float
    task: str | None = None
    task_id: str | None = None
    ticket: Ticket | None = None
    #: So many may hold the key at a time.
    slots: int = 1
    #: It only reads: it holds the key together with others that do.
    shared: bool = False
    #: Keys that are taken together with it, all or none, in order.
    others: tuple[str, ...] = ()
    #: The key stays taken for so long after it was, also when it is given back before.
    at_least: float = 0.0


class Verdict(enum.Enum):
    """What a store says of a lease that was to be renewed. UNKNOWN: the part that has it did not answer."""

    RENEWED = "renewed"
    LOST = "lost"
    UNKNOWN = "unknown"


class State(enum.Enum):
    """What is known of a lease. UNKNOWN: the last beat had no answer, and its time is not over."""

    HELD = "held"
    UNKNOWN = "unknown"
    LOST = "lost"
    RELEASED = "released"


_OVER = (State.LOST, State.RELEASED)


class Lease:
    """A key held by one owner until a deadline, with a fence that orders it among all holders of the key.

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
        """The key it is held on."""
        return self.claim.key

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
            raise LockError(f"the lease of {self.key!r} cannot be renewed here: nothing keeps it", self.key)
        self.renewer(self, self.ttl if ttl is None else duration.ttl("ttl", ttl, f"the lease of {self.key!r}"))

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
            f"the lease of {self.key!r} is gone: {reason}. Another owner may hold the key: undo or check what was done,"
            f" and consider {mend}",
            self.key,
        )

    def __repr__(self) -> str:
        return f"<Lease {self.key!r} of {self.owner} fence={self.fence} {self.state.value}>"


class Busy(NamedTuple):
    """The answer to a claim whose key is taken: by whom, for how long at most, and our place in line, if known.

    `ticket` is the dated name of one that is in line; `present`: it is to wait where it asked.
    """

    holder: str | None = None
    remaining: float | None = None
    place: int | None = None
    ticket: str | None = None
    present: bool = True
    #: Which of several keys is taken, the first of those that are.
    key: str | None = None


class Holding(NamedTuple):
    """A key that is taken, as a store shows it."""

    key: str
    owner: str
    fence: int
    remaining: float | None


@functools.cache
def _process() -> str:
    return f"{os.uname().nodename}:{os.getpid()}"


os.register_at_fork(after_in_child=_process.cache_clear)


def new_owner(name: str = "lock") -> str:
    """A name for one execution, never given twice: what runs, where, and 64 random bits."""
    return f"{name}@{_process()}#{os.urandom(8).hex()}"
