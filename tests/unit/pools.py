"""A worker's pool as its main process sees it, made of a board alone."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from celery_locks.board import Board
from celery_locks.lease import Claim, Lease
from celery_locks.pool.children import Children
from celery_locks.pool.deaths import Bell
from celery_locks.record import RAISE, Entry, News, Term

if TYPE_CHECKING:
    from celery_locks.board import Region
    from celery_locks.pool.burial import Left
    from tests.unit.fakes import Room

ME = os.getpid()


class Pool:
    """A board, its children, and the signals they were sent."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.board = Board(3)
        self.children = Children(self.board, Bell(), room.clock)
        self.struck: list[tuple[int, int]] = []
        self.children.deaths.strike = lambda pid, number: self.struck.append((pid, number))  # type: ignore[method-assign]

    def hold(  # noqa: PLR0913 - a lease that is held in a pool has that many properties
        self,
        slot: int = 0,
        *,
        place: int = 0,
        ttl: float = 30.0,
        on_lost: int = RAISE,
        pid: int = ME,
        until: float = -math.inf,
    ) -> Lease:
        """Do what a process does that takes a key."""
        region, key = self.board.regions[place], f"wallet:{place}-{slot}"
        region.settle(pid)
        claim = Claim(key, f"owner of {key}", ttl)
        region.claim(slot, Entry(pid, self.room.keeper.number, *claim[:5], None))
        lease = self.room.store.acquire(claim)
        assert isinstance(lease, Lease)
        region.hold(slot, Term(lease.deadline or 0.0, ttl, ttl / 3, lease.fence, on_lost, until))
        return lease

    def left_by(self, pid: int) -> list[Left]:
        """What is to be given back of this process, which has died."""
        return list(self.children._left_by(pid))


def enter(room: Room, key: str = "wallet:42", on_lost=None, beat: float | None = 10.0) -> Lease:
    lease = room.guard.enter(room.claim(key)._replace(task="shop.sync", task_id="an-id"), beat=beat, on_lost=on_lost)
    assert isinstance(lease, Lease)
    return lease


def tell(room: Room, region: Region, deadline: float, lost: str = "") -> None:
    """Do what a parent does after a beat."""
    region.tell(0, region.head(0), News(deadline, is_lost=bool(lost), reason=lost))
    region.end(0, room.clock.now)
