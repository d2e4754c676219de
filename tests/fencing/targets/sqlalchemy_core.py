"""Rows of a table, written by statements of SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, String, Table, create_engine, delete, event, insert, select, update

from celery_locks.fencing.sqlalchemy import fence_column, fenced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Engine

    from celery_locks.lease import Lease

PAGES = Table(
    "fenced_pages",
    MetaData(),
    Column("name", String(100), primary_key=True),
    Column("value", String(100), nullable=False, default=""),
    fence_column(),
)


class CoreTarget:
    def __init__(self, url: str) -> None:
        self._pause: Callable[[], None] = lambda: None
        self._engine = engine_of(url)
        event.listen(self._engine, "before_cursor_execute", self._announce)

    def _announce(self, *about: Any) -> None:
        if about[2].startswith("UPDATE"):
            self._pause()

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

    def before_write(self, pause: Callable[[], None]) -> None:
        self._pause = pause

    def close(self) -> None:
        self._engine.dispose()


def engine_of(url: str) -> Engine:
    """With the drivers that are tested, and a connection for each thread of a crowd."""
    if url.startswith("mysql:"):
        url = f"{url.replace('mysql:', 'mysql+pymysql:', 1)}?ssl_disabled=true"
    # SQLite writes one after the other: a crowd waits for each other.
    patience = {"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else {}
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1), max_overflow=-1, **patience)
