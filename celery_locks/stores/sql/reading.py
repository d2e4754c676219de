"""What was read about one key, and how its row tells who has it: one owner, or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.lease import Busy, Holding
from celery_locks.stores.members import Members, from_text
from celery_locks.stores.sql.table import read as unwritten
from celery_locks.stores.sql.window import MICRO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Read(NamedTuple):
    """A key as one statement found it, by the database's clock."""

    now: int
    is_there: bool = False
    #: As it stands in the row, be its time over or not.
    holder: str = ""
    fence: int = 0
    until: int = 0
    #: Who has it alone; or those that have it together, without those whose time is over.
    alone: str | None = None
    members: Members | None = None
    #: Whether the one that asks may have it no more.
    is_done: bool = False
    #: How many an operator has said may hold it.
    slots: int | None = None
    #: Whether somebody waits for it alone.
    is_wanted: bool = False

    def busy(self) -> Busy:
        """The answer to one that does not get it."""
        if self.members and self.members.each:
            return Busy(self.members.each[0].owner, (self.members.until - self.now) / MICRO)
        return taken(self.alone, self.now, self.fence, self.until) if self.alone else Busy()


def taken(owner: str, now: int, fence: int, until: int) -> Busy:
    """The answer where one owner has the key. Its fence is the time at which it took it, or a little later."""
    return Busy(owner, (until - now) / MICRO, age=max(0, now - fence) / MICRO)


def read_of(rows: Sequence[Any], named: Mapping[str, Any]) -> Read:
    """What the rows of a key and of what is said about it come to."""
    now = rows[0][0]
    found = {row[1]: row[2:] for row in rows if row[1]}
    _, _, slots, _, _ = found.get(named["slots"], (None,) * 5)
    _, wants, _, lapses, _ = found.get(named["wanted"], (None, None, None, 0, None))
    read = Read(now, slots=slots or None, is_wanted=bool(wants) and lapses > now)
    if named["digest"] not in found:
        return read
    owner, holder, fence, until, is_done = found[named["digest"]]
    read = read._replace(is_there=True, holder=holder or "", fence=fence, until=until, is_done=bool(is_done))
    if not holder or until <= now:
        return read
    members = members_of(owner)
    return read._replace(members=members.alive(now)) if members else read._replace(alone=unwritten(owner))


def members_of(owner: str) -> Members | None:
    """Those whom the text in an owner's place names together; None when it is one owner's name.

    In a name that was written every backslash stands before another one or a 0.
    """
    return from_text(owner[1:]) if owner.startswith("\\[") else None


def holdings(key: str, now: int, owner: str | None, fence: int, until: int) -> list[Holding]:
    """All who have a key."""
    if owner is None:
        return []
    if members := members_of(owner):
        each = members.alive(now).each
        return [Holding(key, member.owner, member.fence, (member.until - now) / MICRO) for member in each]
    return [Holding(key, unwritten(owner), fence, (until - now) / MICRO)]
