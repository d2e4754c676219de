"""Those that hold one key together, as one text in the place of its single holder: written and read as a whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Claim


class Member(NamedTuple):
    """One of them. `until`: when its lease ends, by the store's clock, in the store's unit."""

    owner: str
    fence: int
    until: int


class Members(NamedTuple):
    """All of them, those with the lowest fences first: readers, or such as have a slot each."""

    readers: bool
    each: tuple[Member, ...] = ()

    def of(self, owner: str) -> Member | None:
        """The one of that owner."""
        return next((member for member in self.each if member.owner == owner), None)

    def without(self, owner: str) -> Members:
        """All others."""
        return self.kept(lambda member: member.owner != owner)

    def alive(self, now: int) -> Members:
        """Those whose time is not over."""
        return self.kept(lambda member: member.until > now)

    def kept(self, wanted: Callable[[Member], bool]) -> Members:
        """Those of a kind."""
        return self._replace(each=tuple(filter(wanted, self.each)))

    def joined(self, member: Member) -> Members:
        """With one more, or with what is new of one of them."""
        return self._replace(each=tuple(sorted((*self.without(member.owner).each, member), key=_by_fence)))

    @property
    def until(self) -> int:
        """When the last of their leases ends."""
        return max(member.until for member in self.each)

    def to_text(self) -> str:
        """What is written: ASCII, whatever the owners are called."""
        return json.dumps(["r" if self.readers else "s", *self.each], separators=(",", ":"))


def from_text(text: str) -> Members:
    """What was written."""
    kind, *each = json.loads(text)
    return Members(kind == "r", tuple(Member(*member) for member in each))


def admitted(members: Members | None, claim: Claim, slots: int | None) -> bool:
    """Whether one more may have the key that these have. `slots`: the key's own number, whatever claims say."""
    if not members or not members.each:
        return True
    if is_alone(claim) or claim.shared != members.readers:
        return False
    return claim.shared or len(members.each) < (slots or claim.slots)


def is_alone(claim: Claim) -> bool:
    """Whether it excludes all others."""
    return claim.slots == 1 and not claim.shared


def _by_fence(member: Member) -> int:
    return member.fence
