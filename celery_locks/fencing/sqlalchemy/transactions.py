"""What a refusal does to the transaction it is met in."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session


@contextlib.contextmanager
def undone_on_error(session: Session | Connection) -> Iterator[None]:
    """Roll the innermost transaction back when the body fails: whoever catches the error cannot commit half of it."""
    try:
        yield
    except BaseException:
        transaction = session.get_nested_transaction() or session.get_transaction()
        if transaction is not None and transaction.is_active:
            transaction.rollback()
        raise


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
