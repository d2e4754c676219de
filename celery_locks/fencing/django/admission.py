"""Which rows a fence is admitted to, and what happens where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models.expressions import Col, RawSQL
from django.db.models.lookups import Exact
from django.db.models.sql.query import Query
from django.db.models.sql.where import AND, ExtraWhere, WhereNode

from celery_locks.fencing.bearer import stale

if TYPE_CHECKING:
    from celery_locks.errors import StaleFence
    from celery_locks.fencing.django.model import Fenced
    from celery_locks.lease import Lease


class _Admits(ExtraWhere):  # type: ignore[misc]
    """One condition, where `Q(fence=None) | Q(fence__lte=...)` would be three to put together and to put into words.

    It is added to a query that is about to be executed, and need not know what lookups know.
    """

    def __init__(self, column: Any, fence: int) -> None:
        self._column, self._fence = column, fence

    def as_sql(self, compiler: Any = None, connection: Any = None) -> tuple[str, list[Any]]:
        column, _ = self._column.as_sql(compiler, connection)
        return f"({column} IS NULL OR {column} <= %s)", [self._fence]


def admit(rows: Any, lease: Lease) -> Any:
    """Leave only those rows that nobody with a higher fence has written to. Their fence is in their own table."""
    query = rows.query
    column = rows.model._meta.get_field("fence").get_col(query.get_initial_alias())
    where, admits = query.where, _Admits(column, lease.fence)
    # What was there may be another query's, too. Beside its conditions ours costs half of what it does around them.
    beside = where.children if where.connector == AND and not where.negated else [where]
    query.where = WhereNode([*beside, admits], AND)
    return rows


def admitted(rows: Any, lease: Lease) -> Any:
    """The same, while `rows` stay as they are: to be updated at once, which copies what the two have in common."""
    query = rows.query
    if not query.alias_map:
        return admit(rows._chain(), lease)
    mine = object.__new__(type(query))
    vars(mine).update(vars(query), alias_refcount=query.alias_refcount.copy())
    return admit(type(rows)(model=rows.model, query=mine, using=rows.db, hints=rows._hints), lease)


def latest(rows: Any) -> Any:
    """Rows as they are now. MySQL at REPEATABLE READ writes to these, and reads older ones if it does not lock."""
    connection = connections[rows.db]
    return rows.select_for_update() if connection.vendor == "mysql" and not connection.get_autocommit() else rows


def is_plain(condition: Any) -> bool:
    """Whether it says that a column is a value."""
    return isinstance(condition, Exact) and type(condition.lhs) is Col and not hasattr(condition.rhs, "as_sql")


def looks_elsewhere(condition: Any) -> bool:
    """Whether it has a subquery, or words of SQL that may have one: the write itself may change what matches then."""
    if isinstance(condition, WhereNode):
        return any(map(looks_elsewhere, condition.children))
    if is_plain(condition):
        return False
    if isinstance(condition, (Query, RawSQL, ExtraWhere)) or getattr(condition, "subquery", False):
        return True
    return any(map(looks_elsewhere, getattr(condition, "get_source_expressions", list)()))


def ensure_atomic(using: str) -> None:
    """A row's lock lasts as long as the transaction: raise where there is none."""
    if connections[using].get_autocommit():
        raise transaction.TransactionManagementError(
            "claim() locks a row until the transaction ends, and there is none: put it and what it is for into"
            " `with transaction.atomic():`"
        )


def refusal(lease: Lease, model: type[Fenced], pk: Any, fence: int | None, using: str) -> StaleFence:
    """The error. Whoever catches it and goes on must not commit what came before it in the same block."""
    if connections[using].in_atomic_block:
        transaction.set_rollback(True, using=using)
    return stale(lease, f"{model._meta.label} {pk!r}", fence if fence and fence > lease.fence else None)
