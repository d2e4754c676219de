"""Rows of a table, written by statements of SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, String, Table, delete, insert, select, update

from celery_locks.fencing.sqlalchemy import fence_column, fenced
from tests.fencing.engines import EngineTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.lease import Lease

PAGES = Table(
    "fenced_pages",
    MetaData(),
    Column("name", String(100), primary_key=True),
    Column("value", String(100), nullable=False, default=""),
    fence_column(),
)


class CoreTarget(EngineTarget):
    def prepare(self, names: Sequence[str]) -> None:
        PAGES.metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            connection.execute(delete(PAGES).where(PAGES.c.name.in_(names)))
            connection.execute(insert(PAGES), [{"name": name} for name in names])

    def plain(self, name: str, value: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(PAGES).where(PAGES.c.name == name).values(value=value))

    def guarded(self, name: str, value: str, lease: Lease) -> None:
        with self._engine.begin() as connection:
            fenced(connection, update(PAGES).where(PAGES.c.name == name).values(value=value), lease)

    def read(self, name: str) -> str:
        return str(self._seen(name, PAGES.c.value))

    def fence(self, name: str) -> int:
        return int(self._seen(name, PAGES.c.fence))

    def _seen(self, name: str, column: Column[Any]) -> Any:
        with self._engine.connect() as connection:
            return connection.scalar(select(column).where(PAGES.c.name == name))
