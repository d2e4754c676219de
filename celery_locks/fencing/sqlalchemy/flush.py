"""The unit of work with a condition: what a flush updates, it updates only where no higher fence has written.

Everything that SQLAlchemy does for an object is left to it: inheritance, foreign keys, versions, defaults, events. Only
its UPDATE statements are seen on their way, and those that write a fence get the condition.
"""

from __future__ import annotations

import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from sqlalchemy import Update, event
from sqlalchemy.exc import InvalidRequestError

from celery_locks.fencing.sqlalchemy.claims import look
from celery_locks.fencing.sqlalchemy.columns import under

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, CursorResult, Engine, Table
    from sqlalchemy.orm import Session

    from celery_locks.fencing.sqlalchemy.columns import Place
    from celery_locks.lease import Lease

    #: By table: where its fences are, and the keys of the rows.
    Rows = Mapping[Table, tuple[Place, Sequence[Sequence[Any]]]]

_under_way: ContextVar[_Flush | None] = ContextVar("celery_locks_flush", default=None)
_heard: weakref.WeakSet[Engine] = weakref.WeakSet()
_mutex = threading.Lock()


def flush(session: Session, rows: Rows, lease: Lease) -> None:
    """Flush the session. These rows, whose fence is among their changes, are updated under the lease or not at all."""
    under_way = _Flush(rows, lease)
    token = _under_way.set(under_way)
    try:
        with under(lease.fence):
            session.flush()
    finally:
        _under_way.reset(token)
    under_way.ensure_written()


def listen(engine: Engine) -> None:
    """See the statements of an engine on their way, from now on."""
    if engine not in _heard:
        with _mutex:
            event.listen(engine, "before_execute", _before, retval=True)
            event.listen(engine, "after_execute", _after)
            _heard.add(engine)


class _Flush:
    def __init__(self, rows: Rows, lease: Lease) -> None:
        self._rows = rows
        self._lease = lease
        self._sent: Any = None
        self._result: Any = None
        self._missing = sum(len(identities) for _, identities in rows.values())

    def before(self, statement: Any, parameters: Mapping[str, Any]) -> Any:
        # An engine with options of its own passes on what the engine behind it is told: all is heard twice there.
        found = None if statement is self._sent else self._guarded(statement, parameters)
        if found is not None:
            self._sent = statement = found[0].guarded(statement)
        return statement

    def after(self, connection: Connection, statement: Any, parameters: Sequence[Any], result: Any) -> None:
        if statement is not self._sent or result is self._result:
            return
        self._result = result
        if result.rowcount != len(parameters):
            # Whatever it is besides, a row that is gone or another version, the unit of work finds itself.
            place, identities = self._rows[statement.table]
            look(connection, place, identities, self._lease)
        self._missing -= len(parameters)

    def ensure_written(self) -> None:
        if self._missing:
            raise InvalidRequestError(
                f"{self._missing} of the objects to be written under {self._lease.key!r} did not come to their tables"
                " by an UPDATE that could be guarded: the session removed them, or sent them to another engine than"
                " the one that its get_bind() gives for an update of their table"
            )

    def _guarded(self, statement: Any, parameters: Mapping[str, Any]) -> Any:
        if not isinstance(statement, Update):
            return None
        found = self._rows.get(statement.table)  # type: ignore[call-overload]  # a table or not
        return found if found is not None and found[0].fence.key in parameters else None


def _before(_: Connection, statement: Any, many: Any, one: Any, __: Any) -> tuple[Any, Any, Any]:
    under_way = _under_way.get()
    return statement if under_way is None else under_way.before(statement, many[0] if many else one), many, one


def _after(connection: Connection, statement: Any, many: Any, one: Any, _: Any, result: CursorResult[Any]) -> None:
    under_way = _under_way.get()
    if under_way is not None:
        under_way.after(connection, statement, many or [one], result)
