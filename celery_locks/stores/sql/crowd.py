"""What a table does about keys that several hold: reads who they are, and writes it back changed if nobody else did."""

from __future__ import annotations

import abc
import contextlib
import random
import time
from typing import TYPE_CHECKING, Any

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease, Verdict
from celery_locks.stores.members import Member, Members, admitted, is_alone
from celery_locks.stores.naming import require_name
from celery_locks.stores.sql.beats import renewed
from celery_locks.stores.sql.notes import NotesInTable, remember
from celery_locks.stores.sql.reading import Read, holdings, members_of, read_of, taken
from celery_locks.stores.sql.statements import HOUR, SEVERAL
from celery_locks.stores.sql.table import about, digest, holder, read
from celery_locks.stores.sql.window import MICRO, NEVER, micro
from celery_locks.stores.sql.wire import Unreached
from celery_locks.ticket import Stance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.lease import Claim, Holding
    from celery_locks.stores.sql.database import Database

#: So many keys at once.
_RENEWED_AT_ONCE = 500
_LONGEST_PAUSE = 0.05
_AT_LEAST = 4
#: What no row's list of owners is like.
_NOBODY = "-"


class CrowdInTable(NotesInTable):
    """The part of an `SqlStore` that only those meet whose key several may hold."""

    prefix: str
    clock: Callable[[], float]
    _database: Database
    _patience: float
    #: Leases that are of several though their claims do not say so: those of another process.
    _known: set[tuple[str, str]]

    def holders(self, key: str) -> list[Holding]:
        now, owner, fence, until = self._look({"digest": digest(self.prefix, require_name(key))})
        return holdings(key, now, owner, fence, until)

    def _enter(self, claim: Claim) -> Lease | Busy:
        """Acquire for a claim that does not want its key alone."""
        row = self._row(claim)
        try:
            return self._noted(claim, self._entered(claim, row))
        except BaseException as error:
            if not isinstance(error.__cause__, Unreached) and self._give_up(row):
                with contextlib.suppress(StoreUnavailable):
                    self._leave(claim)
            raise

    def _refused(self, claim: Claim, row: dict[str, Any], seen: Any) -> Lease | Busy:
        now, owner, fence, until = seen
        if owner is None:
            return Busy()
        if members := members_of(owner):
            return self._amid(claim, row, members.alive(now), now)
        return taken(read(owner), now, fence, until)

    def _amid(self, claim: Claim, row: dict[str, Any], members: Members, now: int) -> Lease | Busy:
        """The answer to a claim for the key alone, which these have."""
        if members.of(claim.owner):
            return self._entered(claim, row)
        if claim.ticket and claim.ticket.stance is not Stance.GOES:
            with contextlib.suppress(StoreUnavailable):
                self._want(claim, row["holder"])
        return Busy(members.each[0].owner, (members.until - now) / MICRO) if members.each else Busy()

    def _entered(self, claim: Claim, row: dict[str, Any]) -> Lease | Busy:
        read = Read(0)
        for _ in self._tries():
            before = self.clock()
            read = self._read_key(claim.key, claim.owner)
            if not read.is_there:
                self._database.ask(self._swaps.ensure, row)
                continue
            if read.is_done:
                return Busy()
            if read.alone and read.holder == row["holder"]:
                return self._acquired(claim, row) or Busy()
            member = _place(read, claim)
            if not member:
                break
            members = (read.members or Members(claim.shared)).joined(member)
            latest = read.now + int(self._patience * MICRO) if self._database.is_remote else NEVER
            if self._swapped(claim.key, read, members, named={"latest": latest, "marked": row["marked"]}):
                return Lease(claim, member.fence, before + claim.ttl, self.clock)
        return read.busy()

    def _shares(self, lease: Lease) -> bool:
        return not is_alone(lease.claim) or (lease.key, lease.owner) in self._known

    def _renew_together(self, leases: Sequence[Lease]) -> list[Verdict]:
        """What becomes of leases of which each may be one of several."""
        groups: dict[str, list[Lease]] = {}
        for lease in sorted(leases, key=lambda lease: digest(self.prefix, lease.key)):
            groups.setdefault(digest(self.prefix, lease.key), []).append(lease)
        names, said = [*groups], dict[tuple[str, str], Verdict]()
        for start in range(0, len(names), _RENEWED_AT_ONCE):
            page = {name: groups[name] for name in names[start : start + _RENEWED_AT_ONCE]}
            said |= renewed(self._database, self._swaps, page, self._tries())
        verdicts = [said[digest(self.prefix, lease.key), lease.owner] for lease in leases]
        for lease, verdict in zip(leases, verdicts, strict=True):
            if verdict is Verdict.LOST:
                self._known.discard((lease.key, lease.owner))
            elif not self._shares(lease):
                remember(self._known, (lease.key, lease.owner))
        return verdicts

    def _leave(self, claim: Claim, *, done: bool = False) -> bool:
        """Give back a place; False when it is none of this owner's. `done`: it may have none any more."""
        key, owner, noted = claim.key, claim.owner, holder(claim.owner) if done else ""
        for _ in self._tries():
            read = self._read_key(key, owner)
            if not read.members or not read.members.of(owner):
                return done and read.is_done
            if self._swapped(key, read, read.members.without(owner), noted):
                return True
        raise self._pressed(key)

    def _put_out(self, key: str, fence: int) -> bool:
        """Take its place from the member with this fence."""
        for _ in self._tries():
            read = self._read_key(key, "")
            members = read.members or Members(readers=True)
            left = members.kept(lambda member: member.fence != fence)
            if left == members:
                return False
            if self._swapped(key, read, left):
                return True
        raise self._pressed(key)

    def _swapped(
        self, key: str, read: Read, members: Members, noted: str = "", *, named: dict[str, Any] | None = None
    ) -> bool:
        """Whether these have the key from now on: nobody changed that since it was read."""
        until = members.until if members.each else read.now
        row = {
            "digest": digest(self.prefix, key),
            "owner": f"\\{members.to_text()}" if members.each else None,
            "holder": SEVERAL if members.each else None,
            "fence": max(read.fence + 1, *(member.fence for member in members.each), 0),
            "until": until,
            "hour": until // HOUR,
            "seen": read.fence,
            "was": read.holder,
            "latest": NEVER,
            "marked": _NOBODY,
            "noted": noted,
        }
        return bool(self._database.ask(self._swaps.swap, row | (named or {})).changed)

    def _read_key(self, key: str, owner: str) -> Read:
        names = {kind: about(kind, self.prefix, key) for kind in ("slots", "wanted")}
        named = {**names, "digest": digest(self.prefix, require_name(key)), "marked": f"%{holder(owner)}%"}
        return read_of(self._database.ask(self._swaps.read, named).rows, named)

    def _tries(self) -> Iterator[None]:
        """Again as long as others were faster, until the time of a verb is over; a few times in any case.

        A database that is merely slow is no reason to say that others were faster.
        """
        end, pause, left = time.monotonic() + self._patience, 0.001, _AT_LEAST
        while left > 0 or time.monotonic() < end:
            yield
            left -= 1
            time.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _pressed(self, key: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._database.name}: {key!r} was changed by others each time, for {self._patience:g} s: fewer should"
            " share one key, or allow more time with ?timeout="
        )

    @abc.abstractmethod
    def _row(self, claim: Claim) -> dict[str, Any]: ...

    @abc.abstractmethod
    def _look(self, row: dict[str, Any]) -> Any: ...

    @abc.abstractmethod
    def _acquired(self, claim: Claim, row: dict[str, Any]) -> Lease | Busy | None: ...

    @abc.abstractmethod
    def _noted(self, claim: Claim, answer: Lease | Busy) -> Lease | Busy: ...

    @abc.abstractmethod
    def _give_up(self, row: dict[str, Any]) -> bool: ...


def _place(read: Read, claim: Claim) -> Member | None:
    """What the claim gets; nothing where there is no room for it."""
    until = read.now + micro(claim.ttl)
    mine = read.members.of(claim.owner) if read.members else None
    if mine:
        return mine._replace(until=until)
    if is_alone(claim) or read.alone or read.is_wanted or not admitted(read.members, claim, read.slots):
        return None
    return Member(claim.owner, max(read.fence + 1, read.now), until)
