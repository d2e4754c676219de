"""What a refusal does to the transaction it is met in."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session


@contextlib.contextmanager
def undone_on_error(session: Session | Connection, instances: Iterable[object] = ()) -> Iterator[None]:
    """Roll the innermost transaction back when the body fails: whoever catches the error cannot commit half of it.

    If one of the objects that were to be written was flushed in a transaction around that one, that is undone as well.
    """
    try:
        yield
    except BaseException:
        transaction = _to_undo(session, instances)
        if transaction is not None and transaction.is_active:
            transaction.rollback()
        raise


def _to_undo(session: Any, instances: Iterable[object]) -> Any:
    found = each = session.get_nested_transaction() or session.get_transaction()
    states = [inspect(instance) for instance in instances]
    # begin_nested() itself flushes, before its savepoint. Nothing public tells what was flushed in which transaction.
    while (each := getattr(each, "parent", None)) is not None:
        if any(state in each._dirty or state in each._deleted for state in states):  # noqa: SLF001
            found = each
    return found


def commits_by_itself(connection: Connection) -> bool:
    """Whether each statement is a transaction, so that none can be undone."""
    level = connection.get_execution_options().get("isolation_level")
    if level is None:
        # Nothing public tells what `create_engine(isolation_level=...)` was given without asking the server.
        level = getattr(connection.dialect, "_on_connect_isolation_level", None)
    return level == "AUTOCOMMIT"


def reads_snapshots(connection: Connection) -> bool:
    """Whether a plain read may show a row as it was before a write of ours has met its newest state."""
    return connection.dialect.name in {"mysql", "mariadb"}
