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
def undone_on_error(session: Session | Connection, instances: Iterable[Any] = ()) -> Iterator[None]:
    """Roll the innermost transaction back when the body fails: whoever catches the error cannot commit half of it.

    Further out, if that is where one of the objects was flushed: `begin_nested()` itself writes what was changed
    before it, without a guard, and outside of its savepoint.
    """
    try:
        yield
    except BaseException:
        transaction = _written_in(session, instances)
        if transaction is not None and transaction.is_active:
            transaction.rollback()
        raise


def _written_in(session: Session | Connection, instances: Iterable[Any]) -> Any:
    innermost: Any = session.get_nested_transaction() or session.get_transaction()
    states = [inspect(each, raiseerr=False) for each in instances]
    found = outer = innermost
    while states and outer is not None:
        # Nothing public tells what a transaction has flushed.
        if any(state in outer._dirty or state in outer._deleted for state in states):  # noqa: SLF001
            found = outer
        outer = outer.parent
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
