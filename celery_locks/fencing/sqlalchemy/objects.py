"""Mapped objects: what is to be written of each, and in which order that is done."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect
from sqlalchemy.exc import InvalidRequestError, NoResultFound
from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import StaleDataError

from celery_locks.errors import LockConfigError, LockNotOwned
from celery_locks.fencing.bearer import bearer
from celery_locks.fencing.sqlalchemy.claims import raise_fence, read
from celery_locks.fencing.sqlalchemy.columns import of_mapper
from celery_locks.fencing.sqlalchemy.flush import flush, listen
from celery_locks.fencing.sqlalchemy.keyed import key_of
from celery_locks.fencing.sqlalchemy.transactions import commits_by_itself, undone_on_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection
    from sqlalchemy.orm import Mapper, Session

    from celery_locks.fencing.sqlalchemy.columns import Place
    from celery_locks.lease import Lease
    from celery_locks.lock import Lock


def write(session: Session, instances: Iterable[Any], lease: Lease | Lock | None) -> None:
    """Write all of these objects under the lease, or none."""
    # By identity, for a class may have no hash.
    each_once = {id(each): each for each in instances}.values()
    # What expired is read anew, which must not flush a new object before it has its fence.
    with undone_on_error(session, each_once), session.no_autoflush:
        found = [_Row(session, each) for each in each_once]
        held = _bearer_of_all(lease, {key_of(row.instance) for row in found})
        _refuse_without_transaction(session, found)
        _write(session, found, held)


def claim(session: Session, kind: type[Any], identity: Any, lease: Lease | Lock | None) -> Any:
    """Store the fence in one row first, then read it: what is read cannot be overtaken any more."""
    mapper: Mapper[Any] = inspect(kind)
    whole = identity if isinstance(identity, tuple) else (identity,)
    if len(whole) != len(mapper.primary_key):
        names = ", ".join(str(column.key) for column in mapper.primary_key)
        raise TypeError(f"claim() takes the primary key of {kind.__name__}, ({names}) as a tuple, and not {identity!r}")
    known = session.identity_map.get(mapper.identity_key_from_primary_key(whole))
    with undone_on_error(session, [] if known is None else [known]):
        place = of_mapper(mapper)
        connection = _connection(session, mapper, place)
        held = bearer(lease)
        if commits_by_itself(connection):
            raise _no_transaction(f"{place.row(whole)} was not claimed: the claim would end with its own statement")
        if known is not None and session.is_modified(known):
            raise InvalidRequestError(f"{place.row(whole)} was changed before it was claimed: claim it first")
        return _claimed(session, connection, mapper, whole, held)


class _Row:
    """One object, and what the session is about to do with it."""

    def __init__(self, session: Session, instance: Any) -> None:
        self.instance = instance
        state: InstanceState[Any] = _state(instance)
        if state.session is not session:
            raise InvalidRequestError(f"{instance!r} is not in this session: session.add() it first")
        self.mapper = state.mapper
        self.place = of_mapper(state.mapper)
        self.table = self.place.table
        self.identity = state.identity or ()
        self.is_new = state.pending
        self.is_deleted = instance in session.deleted
        self.is_changed = not self.is_new and not self.is_deleted and session.is_modified(instance)
        self.connection = _connection(session, self.mapper, self.place)

    def mark(self, fence: int) -> None:
        """Make the fence a change that is to be written, also where it is the same as before."""
        if not self.is_new:
            set_committed_value(self.instance, self.place.attribute, None)
        setattr(self.instance, self.place.attribute, fence)


def _bearer_of_all(lease: Lease | Lock | None, keys: set[str | None]) -> Lease:
    """The lease, which is to be of all these keys, with a fence that is right for each."""
    held = [bearer(lease, key) for key in keys or {None}]
    if len({each.fence for each in held}) > 1:
        raise LockConfigError(
            f"objects of {', '.join(repr(each.key) for each in held)} were to be written at once, and the store of the"
            " lease has a fence for each key alone: write those of each key by themselves"
        )
    return held[0]


def _state(instance: Any) -> Any:
    state = inspect(instance, raiseerr=False)
    if not isinstance(state, InstanceState):
        raise TypeError(
            f"fenced() takes a mapped object, several in a list, tuple or set, or an UPDATE or DELETE statement, and"
            f" not {instance!r}"
        )
    return state


def _write(session: Session, found: list[_Row], lease: Lease) -> None:
    changed = [row for row in found if row.is_changed]
    if len(changed) > 1 and not all(row.connection.dialect.supports_sane_multi_rowcount for row in changed):
        # Nobody would tell how many of the rows of one flush were written.
        changed = []
    clean = [row for row in found if not (row.is_changed or row.is_new or row.is_deleted)]
    _claim([row for row in found if not row.is_new and row not in changed], lease)
    for row in [*changed, *(row for row in found if row.is_new)]:
        row.mark(lease.fence)
    for row in changed:
        listen(row.connection.engine)
    if len(clean) < len(found):
        flush(session, {rows[0].table: (rows[0].place, _identities(rows)) for rows in _grouped(changed)}, lease)
    for rows in _grouped(clean, by="mapper"):
        read(session, rows[0].connection, rows[0].mapper, rows[0].place, _identities(rows))


def _claim(rows: list[_Row], lease: Lease) -> None:
    for each in _grouped(rows):
        place = each[0].place
        if not raise_fence(each[0].connection, place, _identities(each), lease):
            raise StaleDataError(f"{' or '.join(map(place.row, _identities(each)))} is not there any more")
        for row in each:
            set_committed_value(row.instance, row.place.attribute, lease.fence)


def _grouped(rows: Iterable[_Row], by: str = "table") -> Iterable[list[_Row]]:
    groups: dict[Any, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, by)].append(row)
    return groups.values()


def _identities(rows: list[_Row]) -> list[Any]:
    return [row.identity for row in rows]


def _claimed(session: Session, connection: Connection, mapper: Mapper[Any], identity: Any, lease: Lease) -> Any:
    place = of_mapper(mapper)
    there = raise_fence(connection, place, [identity], lease)
    found = read(session, connection, mapper, place, [identity]) if there else []
    if not found:
        raise NoResultFound(f"{place.row(identity)} is not there, and so was not claimed")
    key = key_of(found[0])
    if key is not None and key not in lease.keys:
        raise LockNotOwned(
            f"{place.row(identity)} is guarded by the key {key!r} and was to be claimed under the lease of"
            f" {lease.claim.shown}: take the lock on that key",
            key,
        )
    return found[0]


def _connection(session: Session, mapper: Mapper[Any], place: Place) -> Connection:
    # A session may send what writes elsewhere than what reads: it is asked for an update.
    return session.connection(bind_arguments={"mapper": mapper, "clause": place.update})


def _refuse_without_transaction(session: Session, found: list[_Row]) -> None:
    if not any(commits_by_itself(row.connection) for row in found):
        return
    alone = len(found) == 1 and found[0].is_changed and len(found[0].mapper.tables) == 1
    if not alone or session.new or session.deleted or len(session.dirty) > 1:
        raise _no_transaction("nothing was written: only the changes of one object in one table can be")


def _no_transaction(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"{what} while each statement commits itself (AUTOCOMMIT). Use a transaction")
