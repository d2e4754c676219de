"""The fence by itself: put there first, so that what is read afterwards rests on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update
from sqlalchemy.exc import InvalidRequestError

from celery_locks.fencing.bearer import stale
from celery_locks.fencing.sqlalchemy.columns import under
from celery_locks.fencing.sqlalchemy.transactions import reads_snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Mapper, Session

    from celery_locks.fencing.sqlalchemy.columns import Place
    from celery_locks.lease import Lease

    Identities = Sequence[Sequence[Any]]


def raise_fence(connection: Connection, place: Place, identities: Identities, lease: Lease) -> bool:
    """Store the fence in these rows, whose locks last to the end of the transaction; False when one is not there.

    Raises `StaleFence` when one has a higher fence. What was written is for the caller to undo, then as well.
    """
    statement = update(place.table).where(place.rows(identities), place.is_open).values({place.fence: place.bearers})
    with under(lease.fence):
        written = connection.execute(statement).rowcount
    return written == len(identities) or look(connection, place, identities, lease) == len(identities)


def look(connection: Connection, place: Place, identities: Identities, lease: Lease) -> int:
    """How many of these rows have the lease's fence. Raises `StaleFence` when one of them has a higher one."""
    question = select(*place.identity, place.fence).where(place.rows(identities))
    if reads_snapshots(connection):
        question = question.with_for_update()
    found = connection.execute(question).all()
    for *identity, stored in found:
        if stored is not None and stored > lease.fence:
            raise stale(lease, place.row(identity), stored)
    return sum(stored == lease.fence for *_, stored in found)


def read(
    session: Session, connection: Connection, mapper: Mapper[Any], place: Place, identities: Identities
) -> list[Any]:
    """The objects as they are now, also those that the session has: all they had loaded is replaced."""
    # What is joined to them is read anew as well, and would lose changes where the session does not flush by itself.
    session.flush()
    question = select(mapper.class_).where(place.rows(identities)).execution_options(populate_existing=True)
    if reads_snapshots(connection):
        # A snapshot that is older than our lock would show the row as it was then.
        question = question.with_for_update()
    bind = session.get_bind(mapper=mapper, clause=question)
    if bind.engine is not connection.engine:
        raise InvalidRequestError(
            f"{place.table.fullname} was not read: the session's get_bind() sends what only reads to another engine"
            " than what writes, and it may be behind. Claim in a session that is bound to the engine that writes"
        )
    return list(session.execute(question).unique().scalars())
