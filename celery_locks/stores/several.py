"""Several keys under one lease, in any store: taken one after another, and given back when one of them is taken.

All who ask for several keys take them in the same order, and nobody keeps one while he waits for another: so nobody
waits in a circle. A store that takes all of them in one step says so itself (`Together`), and is asked for that.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from celery_locks.errors import LockError, LockLost, StoreUnavailable
from celery_locks.lease import Busy, Lease, State, Verdict
from celery_locks.stores.base import Lines, Together, Waiting
from celery_locks.stores.living import SessionLease
from celery_locks.ticket import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Claim
    from celery_locks.stores.base import Store

T = TypeVar("T")

logger = logging.getLogger("celery_locks.several")

#: The answer to an owner that is done with a key.
_REFUSED = Busy()
#: Of so many releases that were broken off it is remembered how far they had come.
_REMEMBERED = 1000


class Several:
    """The verbs of a store for claims of several keys. They mean what those of a `Store` mean."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._together = store if isinstance(store, Together) else None
        #: By owner, what a release that was interrupted had given back.
        self._given_back: dict[str, set[str]] = {}

    def verbs(self, claim: Claim) -> Store | Several:
        """These verbs for a claim of several keys, the store's own for one of a single key."""
        return self if claim.others else self._store

    def acquire(self, claim: Claim) -> Lease | Busy:
        """Take all keys, or say which is the first of them that is taken."""
        if self._together and self._together.joins(claim):
            answer = self._together.acquire_together(claim)
            if answer is not None:
                return answer
        taken: list[Lease] = []
        try:
            return self._one_by_one(claim, taken)
        except StoreUnavailable:
            # What was under way the store has undone itself. An interrupt is followed by a release of all.
            for part in () if claim.in_common else reversed(taken):
                _surely(self._store.release, part.claim)
            raise

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        """Renew leases of one key and of several in one call of the store. One that has lost a key is lost."""
        if not any(lease.claim.others for lease in leases):
            return self._store.renew(leases)
        of_each = [_as_taken(lease) for lease in leases]
        said = iter(self._store.renew([part for of_one in of_each for part in of_one]))
        return [_worst([next(said) for _ in of_one]) for of_one in of_each]

    def release(self, claim: Claim) -> bool:
        """Give back all keys, whatever the store says of one of them; False when one was not ours."""
        if self._together and self._together.joins(claim):
            return self._together.release_together(claim)
        # A store may know nothing any more of what it was given back: called again after an interrupt, it is not asked.
        given = self._given_back.setdefault(claim.owner, set())
        while len(self._given_back) > _REMEMBERED:
            # Another thread may be here too.
            self._given_back.pop(next(iter(list(self._given_back))), None)

        def released(part: Claim) -> bool:
            ours = part.key in given or self._store.release(part)
            if ours:
                given.add(part.key)
            return ours

        ours = all(_of_each(released, claim))
        self._given_back.pop(claim.owner, None)
        return ours

    def undo(self, claim: Claim) -> None:
        """Give back what was just given, as far as the store can say. The owner may ask again."""
        for key in reversed(claim.keys):
            _surely(self._store.undo, claim.of(key))

    def disown(self, claim: Claim) -> bool:
        """Give back what a dead owner may hold of them; False when it held none."""
        if self._together and self._together.joins(claim):
            return self._together.release_together(claim, is_dead=True)
        return any(_of_each(self._store.disown, claim))

    def _one_by_one(self, claim: Claim, taken: list[Lease]) -> Lease | Busy:
        for key in _in_turn(claim):
            outcome = self._store.acquire(claim.of(key))
            if isinstance(outcome, Busy):
                self._step_back(claim, taken, outcome, key)
                return outcome if outcome == _REFUSED else outcome._replace(key=key)
            taken.append(outcome)
        return self._leased(claim, taken)

    def _leased(self, claim: Claim, taken: Sequence[Lease]) -> Lease:
        lease = joined(claim, taken, self._store)
        highest = max(part.fence for part in taken)
        if self._store.counts_as_one or not self._store.level(claim, highest):
            return lease
        return Lease(claim, highest, lease.deadline, self._store.clock)

    def _step_back(self, claim: Claim, taken: Sequence[Lease], outcome: Busy, busy: str) -> None:
        """Hold nothing, and wait in no other line than that of the key that is taken.

        One that nobody has is kept for somebody. He may need what we have, and we what he has: while he comes for his,
        ours, that sorts before, is kept for us. Given on by both, turns could go round for ever.
        """
        kept = set[str]()
        for part in reversed(taken):
            if _surely(self._store.step_aside if outcome.is_kept else self._store.undo, part.claim):
                kept.add(part.key)
        if claim.ticket and parts(claim.ticket.name)[1] and isinstance(self._store, Lines):
            # It comes from a line, and nothing says from which. Its date brings it back to any.
            others = [Waiting(key, claim.ticket.name) for key in claim.keys if key != busy and key not in kept]
            _surely(self._store.leave, others)


class JointLease(Lease):
    """A lease of several keys that were taken one after another: it lasts as long as each of them does."""

    __slots__ = ("_has_one_fence", "_parts")

    def __init__(
        self, claim: Claim, taken: Sequence[Lease], *, has_one_fence: bool, clock: Callable[[], float]
    ) -> None:
        # Before the others, which ask for them.
        self._parts = {part.key: part for part in taken}
        self._has_one_fence = has_one_fence
        deadlines = [part.deadline for part in taken if part.deadline is not None]
        super().__init__(claim, 0, min(deadlines, default=None), clock)
        for part in taken:
            part.news = self._tell
        self.caveat = next((part.caveat for part in taken if part.caveat), "")

    @property
    def fence(self) -> int:
        """One that orders it among the holders of each of its keys. Raises `LockError` where there is none."""
        if self._has_one_fence:
            return max(part.fence for part in self._parts.values())
        raise LockError(
            f"the lease of {self.claim.shown} has no fence for all its keys, for they were taken with a fence each:"
            f" take lease.fences[{self.key!r}], or hand lease.of({self.key!r}) to what that key guards",
            self.key,
        )

    @fence.setter
    def fence(self, _: int) -> None:
        """It has those of its parts."""

    def __copy__(self) -> JointLease:
        # By default its fence would be asked for.
        other = object.__new__(type(self))
        for name in {*Lease.__slots__, *JointLease.__slots__} - {"fence"}:
            setattr(other, name, getattr(self, name))
        return other

    def fence_of(self, key: str) -> int:
        """Its fence for one of its keys."""
        if self._has_one_fence or key not in self._parts:
            return super().fence_of(key)
        return self._parts[key].fence

    def as_taken(self) -> list[Lease]:
        """The leases that the store gave, which it may know by their own fences, as they are by now."""
        for part in self._parts.values():
            part.hear()
        return [*self._parts.values()]

    def held(self) -> bool:
        """Whether it was ours when last heard of, its time is not over, and its sessions last for certain."""
        return super().held() and not self._over()

    def lose(self, reason: str) -> bool:
        """Note that it is gone, and with its session if that is over."""
        return super().lose(self._over() or reason)

    def loss(self) -> LockLost:
        """The error that says how it ended."""
        if not self.reason and self.state is not State.RELEASED:
            self.reason = self._over()
        return super().loss()

    def _over(self) -> str:
        sessions = (part for part in self._parts.values() if isinstance(part, SessionLease))
        return next((part.over for part in sessions if not part.lives()), "")


def joined(claim: Claim, taken: Sequence[Lease], store: Store) -> Lease:
    """The lease of keys that are taken."""
    if not claim.others:
        return taken[0]
    has_one_fence = store.counts_as_one or len({part.fence for part in taken}) == 1
    return JointLease(claim, taken, has_one_fence=has_one_fence, clock=store.clock)


def _in_turn(claim: Claim) -> Sequence[str]:
    # What is handed over goes last key first. Whoever comes for it meanwhile, as a job that is tried again, asks for
    # the first key first, and is refused while any is to come: had it taken one, it would have given that to anybody.
    return claim.keys[::-1] if claim.after and claim.in_common else claim.keys


def _as_taken(lease: Lease) -> list[Lease]:
    # One that another process took is known by its claim alone, where that is enough for its store.
    parts = lease.as_taken() if isinstance(lease, JointLease) else [lease.of(key) for key in lease.keys]
    for part in parts:
        # It may be asked for longer than it is believed in.
        part.ttl = lease.ttl
    return parts


def _of_each(verb: Callable[[Claim], bool], claim: Claim) -> list[bool]:
    """What the store says of each key. One of which it cannot say does not keep the others from being asked."""
    said, outage = [], None
    for key in reversed(claim.keys):
        try:
            said.append(verb(claim.of(key)))
        except StoreUnavailable as error:  # noqa: PERF203 - each for itself
            outage = error
    if outage:
        raise outage
    return said


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    return next((each for each in (Verdict.LOST, Verdict.UNKNOWN) if each in verdicts), Verdict.RENEWED)


def _surely(verb: Callable[[T], object], what: T) -> object:
    """Give back what may not be to be given back now: then its time ends it."""
    try:
        return verb(what)
    except StoreUnavailable as error:
        logger.warning("not all that was taken with other keys could be given back, and ends by itself: %s", error)
        return None
