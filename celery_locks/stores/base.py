"""The contract of a store: three verbs, and capabilities it declares by what it implements."""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict

DEFAULT_PREFIX = "lock:"


class Store(abc.ABC):
    """Where locks are kept. One object serves all threads of a process, and still works in a process forked later.

    Contention is an answer, an outage is an error: every verb raises `StoreUnavailable` when the store cannot say.
    A verb may be repeated with the same arguments after its answer was lost, and means the same.
    """

    #: The lock lives in a connection or an open file: it has no ttl, ends with its process, and cannot be handed on.
    in_connection: ClassVar[bool] = False
    #: The lock lives in the memory of one process, and no other can renew it.
    in_process: ClassVar[bool] = False
    #: A claim may name an owner after whom it comes: it takes the key over from that one, and its fence.
    hands_over: ClassVar[bool] = False
    #: Why it does not let several hold one key, where there is a reason to be told.
    why_no_crowds: ClassVar[str] = ""
    #: Its fences come from one counter, whatever the key: the last of several is right for all their keys.
    counts_as_one: ClassVar[bool] = False
    #: It renews by a lease's fence, and not by its owner alone.
    renews_by_fence: ClassVar[bool] = False

    def __init__(self, *, prefix: str = DEFAULT_PREFIX, clock: Callable[[], float] = time.monotonic) -> None:
        self.prefix = prefix
        self.clock = clock

    @abc.abstractmethod
    def acquire(self, claim: Claim) -> Lease | Busy:
        """Take the claim's key for its ttl, or say who has it.

        An owner that asks again gets the same lease with the same fence, and a full ttl. The lease's deadline is
        counted from before the request left. Where locks are handed over, so does one that comes after the owner who
        has the key: it is this claim's from then on, under the same fence, and the other has nothing.
        """

    @abc.abstractmethod
    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        """Give each lease its full ttl again, in one round trip, and say which were no longer ours.

        A lease that expired is never renewed, also when nobody took its key since. Deadlines are the caller's to note.
        A store of several nodes may say `UNKNOWN` for the leases of one that did not answer, for those of the others
        are not in doubt; when no node answered it raises as every verb does.
        """

    @abc.abstractmethod
    def release(self, claim: Claim) -> bool:
        """Give the key back if this claim's owner holds it. False, and nothing changed, when it does not.

        Where answers can be lost, it says True again when repeated, and an owner that has released gets nothing
        more: an acquire of its own that arrives late is refused.
        """

    def undo(self, claim: Claim) -> None:
        """Give back what was just given. Unlike one that has released, the owner may ask again."""
        self.release(claim)

    def step_aside(self, claim: Claim) -> bool:
        """Give back what was just given, because another key of its is kept for somebody who may want this one too.

        A store with lines keeps it for the claim's ticket, for the time of a turn, if others wait for it: then True.
        """
        self.undo(claim)
        return False

    def level(self, claim: Claim, fence: int) -> bool:  # noqa: ARG002 - for those who can
        """Raise the fences of all keys of a claim, which its owner holds, to this one; False where that cannot be."""
        return False

    def disown(self, claim: Claim) -> bool:
        """Give back what a dead owner may hold; where the store can, nothing comes of a late acquire of its own."""
        return self.release(claim)

    def close(self) -> None:  # noqa: B027 - a store without connections has nothing to give back
        """Give back connections and files. Leases are not released, except those that live in what is closed."""


class Waiting(NamedTuple):
    """A ticket and the key it waits for. `comes`: as the next in line it is called, to wait in a slot for its turn."""

    key: str
    ticket: str
    comes: bool = False


class Wake(NamedTuple):
    """What a store says to those who wait: it is this ticket's turn, or it is the next; so long the key is kept.

    With a `fence` it has the key already, for its ttl: it was handed over to the claim that asked with this `echo`.
    """

    key: str
    ticket: str
    turn: bool
    window: float
    fence: int = 0
    echo: int = 0


class Look(NamedTuple):
    """What attending to a ticket has shown: when to look again, and whether the key is kept for it now.

    `idle`: the key is free, and nobody was called. `busy`: where the ticket stands.
    """

    again: float
    turn: bool
    idle: bool = False
    busy: Busy | None = None


class Lines(abc.ABC):
    """A store that keeps a line for each key, and wakes whose turn it is.

    A key that is given back is kept for the first in its line for a short time, the claim window; whoever does not
    claim it by then is passed over. A wake may be lost, and may come twice.
    """

    @abc.abstractmethod
    def attend(self, waiting: Sequence[Waiting], home: str = "") -> list[Look | None]:
        """Note that these are present, and move their lines on if nobody else has.

        A ticket without a date joins its line now. An empty one only looks. `home` is the name that was given to
        `listen`, while that hears: these are told there, and passed over once the store sees that nobody listens.
        Nothing is answered for one whose part of the store cannot say, if another can.
        """

    @abc.abstractmethod
    def leave(self, waiting: Sequence[Waiting]) -> None:
        """Take these out of line; what was kept for one goes to the next."""

    @abc.abstractmethod
    def listen(self, home: str = "") -> Listening:
        """The wakes of this store, from now on, heard by a process of this name."""


class Listening(abc.ABC):
    """Wakes as they come, to be heard by one thread."""

    @abc.abstractmethod
    def heard(self, timeout: float) -> list[Wake]:
        """Those that have come, waiting so long for the first. Raises `StoreUnavailable` when it hears no more."""

    @abc.abstractmethod
    def close(self) -> None:
        """Listen no more."""


class Watches(abc.ABC):
    """A store without lines that can tell when a key may be free, so that nobody need look again and again."""

    @abc.abstractmethod
    def watch(self, key: str, seconds: float) -> None:
        """Return when the key may be free, also if it was given back just before the call; after so long in any case.

        It may return too early. Whoever waits asks again, and watches again if the key is taken.
        """


class Inspects(abc.ABC):
    """A store that can show what it holds."""

    #: A fence is the time at which its lock was taken, in microseconds since 1970, unless a clock was set back.
    fence_is_time: ClassVar[bool] = False

    @abc.abstractmethod
    def inspect(self, key: str) -> Holding | None:
        """Who has the key now, or None."""

    @abc.abstractmethod
    def list(self, pattern: str = "*") -> Iterator[Holding]:
        """The keys taken now whose name matches the glob, a page at a time; no promise of one moment for all."""

    @abc.abstractmethod
    def force_release(self, key: str) -> bool:
        """Free the key whoever has it; False when it was free. The holder learns of it at its next beat."""


class Crowds(abc.ABC):
    """A store whose keys several may hold at a time: up to as many as a claim has slots, or all that only read.

    The holders of a key are a set of owners, each with its own deadline, or in its session, and with its own fence,
    higher than that of any holder before: who dies without a word frees its place alone. A claim for one slot that does
    not share excludes all others, and they it; so do those with slots and those that read each other. Each claim's own
    number of slots counts when it asks. `renew`, `release` and `disown` find a holder by key and owner, whatever else
    the claim says.

    Those that hold a key together must not shut out for ever one who waits for it alone. Where the store keeps no
    lines, whoever waits where it asks, and asks again within half a second, says so by a ticket that does not go.
    """

    @abc.abstractmethod
    def holders(self, key: str) -> list[Holding]:
        """All who have the key now, those with the lowest fences first."""

    @abc.abstractmethod
    def slots(self, key: str) -> int | None:
        """How many slots the key was given by `set_slots`; None when each claim says it itself."""

    @abc.abstractmethod
    def set_slots(self, key: str, slots: int | None) -> None:
        """From now on so many may hold the key, whatever claims for two slots or more say; None: as they say again.

        Those who hold it keep it, also when there are fewer slots now. It counts until it is changed, also for a key
        that nobody holds.
        """


class Together(abc.ABC):
    """A store that takes several keys in one step, all or none, with one fence that is above all that they had."""

    @abc.abstractmethod
    def joins(self, claim: Claim) -> bool:
        """Whether it can do so for the keys of this claim: if not, they are taken one after another."""

    @abc.abstractmethod
    def acquire_together(self, claim: Claim) -> Lease | Busy | None:
        """Take all, or say which is the first that is taken: a ticket joins the line of that, and leaves all others.

        None, and nothing changed, when they are to be asked for one after another after all.
        """

    @abc.abstractmethod
    def release_together(self, claim: Claim, *, is_dead: bool = False) -> bool:
        """Give back all of them, of an owner that may be dead; False when one was not ours."""
