"""Leases that live as long as a session with their store."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

from celery_locks.lease import Lease, State

if TYPE_CHECKING:
    from celery_locks.errors import LockLost


class SessionLease(Lease):
    """A lease without a ttl, that lives in a session with the store and knows when that is over, or may be."""

    __slots__ = ()
    #: What to say of it when its session is over.
    over: ClassVar[str]

    @abc.abstractmethod
    def lives(self) -> bool:
        """Whether its session lasts for certain."""

    def held(self) -> bool:
        """Whether it was ours when last heard of, and its session lasts for certain."""
        return super().held() and self.lives()

    def lose(self, reason: str) -> bool:
        """Note that it is gone, and with its session when that is over: there was no ttl that could run out."""
        return super().lose(reason if self.lives() else self.over)

    def loss(self) -> LockLost:
        """The error that says how it ended."""
        if not self.reason and self.state is not State.RELEASED:
            self.reason = self.over
        return super().loss()
