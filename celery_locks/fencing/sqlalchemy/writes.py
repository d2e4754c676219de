"""What users call: write under a fence, or put the fence first and then read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy import Connection, Delete, Executable, Update
from sqlalchemy.orm import Session, scoped_session

from celery_locks.fencing.sqlalchemy import objects, statements

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import TypeAlias

    from sqlalchemy import CursorResult

    from celery_locks.lease import Lease
    from celery_locks.lock import Lock

    AnySession: TypeAlias = "Session | scoped_session[Any]"

T = TypeVar("T")
_MANY = (list, tuple, set, frozenset)


@overload
def fenced(  # type: ignore[overload-overlap]  # a statement is an object too
    session: AnySession | Connection, what: Update | Delete, lease: Lease | Lock | None = None
) -> CursorResult[Any]: ...
@overload
def fenced(session: AnySession, what: object | Collection[object], lease: Lease | Lock | None = None) -> None: ...
def fenced(session: Any, what: Any, lease: Lease | Lock | None = None) -> Any:
    """Write under the fence of a lease: of the running job's where none is given.

    `what` is a mapped object, several, or an UPDATE or DELETE statement. Raises `StaleFence` when a higher fence has
    written one of the rows. Whatever it raises, none of them is written, and the innermost transaction is rolled back.
    The commit stays with the caller.
    """
    session = _plain(session)
    if isinstance(what, (Update, Delete)):
        return statements.write(session, what, lease)
    if isinstance(what, Executable):
        raise TypeError(
            f"fenced() takes mapped objects and statements that update or delete, and not {type(what).__name__}: a new"
            " row has no fence to compare with; give it that of the lease"
        )
    if isinstance(session, Connection):
        raise TypeError(f"a Connection writes statements; {type(what).__name__} needs the Session that it is in")
    return objects.write(session, what if isinstance(what, _MANY) else [what], lease)


def claim(session: AnySession, kind: type[T], identity: Any, lease: Lease | Lock | None = None) -> T:
    """The object with this primary key, read after the lease's fence was put into its row.

    For a job that reads before it writes: until the transaction ends nobody writes the row, and afterwards nobody with
    a lower fence. Raises `StaleFence` when a higher one has, and `sqlalchemy.exc.NoResultFound` when there is no such
    row. Whatever it raises, the innermost transaction is rolled back.
    """
    found: T = objects.claim(_plain(session), kind, identity, lease)
    return found


def _plain(session: Any) -> Any:
    if isinstance(session, scoped_session):
        return session()
    if not isinstance(session, (Session, Connection)):
        raise TypeError(
            f"{type(session).__name__} is neither a Session nor a Connection; of an AsyncSession write"
            " await session.run_sync(fenced, what)"
        )
    return session
