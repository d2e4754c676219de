"""Renews the leases of those that hold keys together: all by one statement that reads and one that writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.lease import Verdict
from celery_locks.stores.sql.reading import members_of
from celery_locks.stores.sql.window import micro

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from celery_locks.lease import Lease
    from celery_locks.stores.sql.database import Database
    from celery_locks.stores.sql.swaps import Swaps


class _Change(NamedTuple):
    """Who has a key from now on, if nobody else has changed that since its row had this fence."""

    digest: str
    owner: str
    seen: int
    until: int


def renewed(
    database: Database, swaps: Swaps, leases: Mapping[str, Sequence[Lease]], tries: Iterable[None]
) -> dict[tuple[str, str], Verdict]:
    """What becomes of leases, each known by the digest of its key and its owner.

    Unknown is what others were faster to change each time: nobody has taken its place.
    """
    verdicts = {(name, lease.owner): Verdict.UNKNOWN for name, each in leases.items() for lease in each}
    left = dict(leases)
    for _ in tries:
        changes = [*_changes(database, swaps, left, verdicts)]
        for name in _written(database, swaps, changes):
            for lease in left[name]:
                if verdicts[name, lease.owner] is Verdict.UNKNOWN:
                    verdicts[name, lease.owner] = Verdict.RENEWED
        left = {name: each for name, each in left.items() if _is_open(name, each, verdicts)}
        if not left:
            break
    return verdicts


def _is_open(name: str, leases: Sequence[Lease], verdicts: Mapping[tuple[str, str], Verdict]) -> bool:
    return any(verdicts[name, lease.owner] is Verdict.UNKNOWN for lease in leases)


def _changes(
    database: Database, swaps: Swaps, leases: Mapping[str, Sequence[Lease]], verdicts: dict[tuple[str, str], Verdict]
) -> Iterator[_Change]:
    """What is to be written; a lease of which nothing is there is lost."""
    find, _ = swaps.renewal(len(leases))
    rows = database.ask(find, {f"digest_{number}": name for number, name in enumerate(sorted(leases))}).rows
    found = {name: (now, members_of(owner), fence) for now, name, owner, fence in rows if name}
    for name, each in leases.items():
        now, members, fence = found.get(name, (0, None, 0))
        members = members.alive(now) if members else None
        ours = []
        for lease in each:
            mine = members.of(lease.owner) if members else None
            if members and mine:
                members = members.joined(mine._replace(until=now + micro(lease.ttl)))
                ours.append(mine)
            else:
                verdicts[name, lease.owner] = Verdict.LOST
        if members and ours:
            yield _Change(name, f"\\{members.to_text()}", fence, members.until)


def _written(database: Database, swaps: Swaps, changes: Sequence[_Change]) -> Sequence[str]:
    """The keys of which that could be written."""
    if not changes:
        return []
    # In order, so that two that write the same rows do not wait for each other in a circle.
    named: dict[str, Any] = {
        f"{field}_{number}": value
        for number, change in enumerate(sorted(changes))
        for field, value in change._asdict().items()
    }
    answer = database.ask(swaps.renewal(len(changes))[1], named)
    if answer.changed == len(changes):
        return [change.digest for change in changes]
    return [name for (name,) in answer.rows]
