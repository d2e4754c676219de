"""What is told of a claim to all who listen. An event that nobody wants is never made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from celery_locks import events, signals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Busy, Claim, Lease
    from celery_locks.ward import Watched


class Past(NamedTuple):
    """How often a job has gone back to its queue, and how long ago it first met its key taken, if it has."""

    attempts: int | None = None
    delayed: float | None = None


def _nobody_knows(_: Claim) -> Past:
    return Past()


#: What the job of a claim has met so far. Only a face that has queues knows, and sets it.
past_of: Callable[[Claim], Past] = _nobody_knows


def acquired(lease: Lease, waited: float) -> None:
    """The key was taken."""
    if signals.acquired:
        claim = lease.claim
        known = {**events.of(claim), **past_of(claim)._asdict()}
        event = events.Acquired(claim.key, claim.owner, lease.fence_of(claim.key), waited, **known)
        signals.acquired.send(event)


def contended(claim: Claim, busy: Busy, waited: float) -> None:
    """The key was still taken."""
    if signals.contended:
        key = busy.key or claim.key
        known = {**events.of(claim), "age": busy.age, "attempts": past_of(claim).attempts}
        signals.contended.send(events.Contended(key, claim.owner, *busy[:3], waited, **known))


def released(lease: Lease, held: float) -> None:
    """The key was given back."""
    if signals.released:
        claim = lease.claim
        event = events.Released(claim.key, claim.owner, lease.fence_of(claim.key), held, **events.of(claim))
        signals.released.send(event)


def expired(lease: Lease, held: float) -> None:
    """The lease was found over when it was to be given back."""
    if signals.expired:
        claim = lease.claim
        event = events.Expired(claim.key, claim.owner, lease.fence_of(claim.key), held, **events.of(claim))
        signals.expired.send(event)


def beat(due: Sequence[Watched], began: float, clock: Callable[[], float]) -> None:
    """These were asked for together, since then, and there was an answer."""
    if signals.beat and due:
        claim = due[0].lease.claim
        event = events.Beat(claim.key, claim.owner, len(due), clock() - began, **events.of(claim))
        signals.beat.send(event)
