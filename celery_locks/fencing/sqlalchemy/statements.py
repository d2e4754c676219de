"""UPDATE and DELETE statements with a condition, and what tells whether they met a row that refused them."""

from __future__ import annotations

from operator import and_, eq
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, SelectBase, TextClause, Update, inspect, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, ColumnClause

from celery_locks.fencing.bearer import bearer, stale
from celery_locks.fencing.sqlalchemy.columns import MARK, Place, of_table, under
from celery_locks.fencing.sqlalchemy.keyed import filled, names
from celery_locks.fencing.sqlalchemy.transactions import commits_by_itself, reads_snapshots, undone_on_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Delete
    from sqlalchemy.orm import Session

    from celery_locks.lease import Lease
    from celery_locks.lock import Lock


def write(session: Session | Connection, statement: Update | Delete, lease: Lease | Lock | None) -> Any:
    """Execute the statement under the lease, on all the rows it matches or on none. Gives its result."""
    with undone_on_error(session):
        words = _Words(statement)
        words.ensure_its_fence_is_ours()
        lease = bearer(lease, words.key())
        connection = words.connection(session)
        if commits_by_itself(connection) and not words.is_for_one_row:
            raise InvalidRequestError(
                f"{words.place.table.fullname} was not written: several rows cannot be written all or none while each"
                " statement commits itself (AUTOCOMMIT). Use a transaction, or name the whole primary key with =="
            )
        with under(lease.fence):
            if words.looks_elsewhere:
                return _write_found(session, connection, words, lease)
            return _write_matching(session, connection, words, lease)


class _Words:
    """A statement, and what can be told of it without asking the database."""

    def __init__(self, statement: Update | Delete) -> None:
        self.statement = statement
        about = _about(statement)
        self.entity: Any = about.get("entity")
        self.place: Place = of_table(about["table"])
        self.where = statement.whereclause
        parts = list(_parts(self.where))
        self.pinned = dict(self._equals(parts))
        self._is_plain = len(self.pinned) == len(parts)

    @property
    def is_for_one_row(self) -> bool:
        """Whether the whole primary key is given."""
        return bool(self.place.identity) and all(column.key in self.pinned for column in self.place.identity)

    @property
    def looks_elsewhere(self) -> bool:
        """Whether what it matches depends on more than the row itself, and so may change by the write."""
        if self.where is None or self._is_plain:
            return False
        return any(self._is_elsewhere(each) for each in visitors.iterate(self.where))

    def guarded(self) -> Any:
        """The statement with the condition; an update stores the fence as well."""
        statement: Any = self.statement.where(self.place.is_open)
        if not isinstance(statement, Update):
            return statement
        fence, values = {self.place.fence: self.place.bearers}, getattr(statement, "_values", None)
        if not values:
            return statement.values(fence)
        # As `values()` does it, which looks at each anew first: that was a third of what the guard costs.
        statement._values = values.union(fence)  # noqa: SLF001 - it is our own copy
        return statement

    def question(self) -> Any:
        """Asks for the keys and fences of the rows it matches."""
        # Asked of the class, for that may mean fewer rows than its table has: those of one of several classes in it.
        found = select(*(self._attribute(column) for column in (*self.place.identity, self.place.fence)))
        return found if self.where is None else found.where(self.where)

    def connection(self, session: Session | Connection) -> Connection:
        """The connection that it is executed on."""
        if isinstance(session, Connection):
            return session
        mapper = {} if self.entity is None else {"mapper": inspect(self.entity)}
        return session.connection(bind_arguments={"clause": self.statement, **mapper})

    def key(self) -> str | None:
        """The lock key that protects what it writes, if its class or table says so."""
        template = getattr(self.entity, "__fence_key__", None) or self.place.fence.info[MARK]
        if template is None:
            return None
        if moved := {self._column(name) for name in names(template)} & self._changed():
            raise InvalidRequestError(
                f"{' and '.join(sorted(moved))} of {self.place.table.fullname} is to be changed, and is part of its"
                f" lock key {template!r}: the rows would pass from one key to another under the lease of one of them"
            )
        values = {name: self.pinned[key] for name in names(template) if (key := self._column(name)) in self.pinned}
        if missing := set(names(template)) - set(values):
            raise InvalidRequestError(
                f"rows of {self.place.table.fullname} are protected by the lock key {template!r}, and the statement"
                f" does not say which: add {' and '.join(sorted(missing))} == ... to its where()"
            )
        return filled(template, values.__getitem__, self.place.table.fullname)

    def ensure_its_fence_is_ours(self) -> None:
        """Raise if it sets the fence by itself: to a lower one, and a ghost would be let in."""
        if self.place.fence.key in self._changed():
            raise InvalidRequestError(
                f"{self.place.fence.key} of {self.place.table.fullname} is the guard's, set to the lease's fence:"
                " leave it out of values()"
            )

    def _changed(self) -> set[str]:
        # Until it is executed nothing public tells what an UPDATE sets.
        told = getattr(self.statement, "_values", None) or dict(getattr(self.statement, "_ordered_values", None) or ())
        return {self._column(each) if isinstance(each, str) else str(each.key) for each in told}

    def _column(self, name: str) -> str:
        if self.entity is None:
            return name
        columns = inspect(self.entity).columns
        return str(columns[name].key) if name in columns else name

    def _attribute(self, column: Any) -> Any:
        if self.entity is None:
            return column
        return getattr(self.entity, inspect(self.entity).get_property_by_column(column).key)

    def _equals(self, parts: Iterable[Any]) -> Iterator[tuple[str, Any]]:
        for clause in parts:
            if isinstance(clause, BinaryExpression) and clause.operator is eq:
                for column, value in ((clause.left, clause.right), (clause.right, clause.left)):
                    if isinstance(value, BindParameter) and self._is_own(column):
                        yield str(column.key), value.effective_value

    def _is_own(self, column: Any) -> bool:
        return isinstance(column, ColumnClause) and column.table is self.place.table

    def _is_elsewhere(self, element: Any) -> bool:
        # A text may have a subquery in it.
        return isinstance(element, (SelectBase, TextClause)) or (
            isinstance(element, ColumnClause) and not self._is_own(element)
        )


def _about(statement: Update | Delete) -> Mapping[str, Any]:
    try:
        return statement.entity_description
    except KeyError:
        # One on a table that has a mapped class in its where() is taken for one on a class, which it has not.
        return {"table": statement.table}


def _parts(clause: Any) -> Iterator[Any]:
    if isinstance(clause, BooleanClauseList) and clause.operator is and_:
        for each in clause.clauses:
            yield from _parts(each)
    else:
        yield clause


def _write_matching(session: Session | Connection, connection: Connection, words: _Words, lease: Lease) -> Any:
    """Write first, then look whether a row was left out: one that was is as it was, and still matches."""
    result: Any = session.execute(words.guarded())
    if not (words.is_for_one_row and getattr(result, "rowcount", -1) == 1):
        left_out = words.question().where(words.place.fence > lease.fence).limit(1)
        _refuse_stale(connection, words.place, left_out, lease)
    return result


def _write_found(session: Session | Connection, connection: Connection, words: _Words, lease: Lease) -> Any:
    """Find and lock the rows first, for what the statement matches may change by the write itself."""
    place = words.place
    found = connection.execute(words.question().with_for_update(of=place.table)).all()
    _refuse(found, place, lease)
    identities = {tuple(identity) for *identity, _ in found}
    result: Any = session.execute(words.guarded().where(place.rows(identities)))
    if getattr(result, "rowcount", -1) != len(identities):
        _refuse_stale(connection, place, select(*place.identity, place.fence).where(place.rows(identities)), lease)
    return result


def _refuse_stale(connection: Connection, place: Place, question: Any, lease: Lease) -> None:
    if reads_snapshots(connection):
        question = question.with_for_update()
    _refuse(connection.execute(question), place, lease)


def _refuse(found: Any, place: Place, lease: Lease) -> None:
    for *identity, stored in found:
        if stored is not None and stored > lease.fence:
            raise stale(lease, place.row(identity), stored)
