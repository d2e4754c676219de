"""A lease that is watched, and the other process that may know it: the one that holds it, or the one that keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Lease


class Ward:
    """What a keeper asks about a lease that two processes know. As it stands: one that only this process knows."""

    # One is made for each job.
    __slots__ = ()

    #: The other process may report a loss within so many seconds, in place of this one.
    patience = 0.0

    def due(self, due: float) -> float | None:
        """When it is to be renewed, as far as the other process knows; None when it is not held any more."""
        return due

    def end(self, deadline: float) -> float:
        """When it counts as lost here, whose time is over then."""
        return deadline

    def soonest(self, deadline: float) -> float:
        """When its end is to be looked at; it may be later by then."""
        return self.end(deadline)

    def begins(self, now: float) -> bool:  # noqa: ARG002 - for those who note it
        """Say that it is about to be renewed. False: it is not to be."""
        return True

    def ended(self, lease: Lease, now: float) -> None:
        """Say that the renewal is over, and until when the lease is held now."""

    def lost(self, lease: Lease) -> None:
        """Say that it is lost, before anything is done about it."""

    def reports(self, lease: Lease) -> bool:  # noqa: ARG002 - for those who ask it
        """Whether its loss is for this process to report: that the other has not."""
        return True


class Given(NamedTuple):
    """What is to be watched, and how: the seconds between its beats, and what is called once if it is lost."""

    lease: Lease
    interval: float
    on_lost: Callable[[Lease], None] | None
    ward: Ward


def began(lease: Lease, now: float) -> float:
    """Since when its ttl runs; from now on where it has none."""
    return now if lease.deadline is None else lease.deadline - lease.ttl


@dataclass(slots=True)
class Watched:
    """A lease that a keeper renews, and when that is due."""

    lease: Lease
    beats: float
    on_lost: Callable[[Lease], None] | None
    due: float
    ward: Ward

    @classmethod
    def of(cls, given: Given, now: float) -> Watched:
        """As its ttl does, its interval counts from before the acquire left."""
        lease, interval, on_lost, ward = given
        return cls(lease, lease.ttl / interval, on_lost, began(lease, now) + interval, ward)

    @property
    def interval(self) -> float:
        """Seconds between its beats: they follow a ttl that was renewed to another length."""
        return self.lease.ttl / self.beats

    @property
    def end(self) -> float | None:
        """When it counts as lost."""
        deadline = self.lease.deadline
        return None if deadline is None else self.ward.end(deadline)

    def is_over(self, now: float) -> bool:
        """Whether it counts as lost now."""
        # Asking the lease may move its end: it hears what another process has to say of it.
        held, end = self.lease.held(), self.end
        return not held if end is None or self.lease.is_over else end <= now

    def is_wanted(self) -> bool:
        """Whether it is held still; the other process that knows it may have moved its next beat."""
        due = self.ward.due(self.due)
        if due is not None:
            self.due = due
        return due is not None
