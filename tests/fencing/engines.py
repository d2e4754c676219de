"""Databases that a target writes by an engine of SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine


class EngineTarget:
    """Says when an UPDATE is about to be sent."""

    def __init__(self, url: str) -> None:
        self._pause: Callable[[], None] = lambda: None
        self._engine = _engine_of(url)
        event.listen(self._engine, "before_cursor_execute", self._announce)

    def _announce(self, *about: Any) -> None:
        if about[2].startswith("UPDATE"):
            self._pause()

    def before_write(self, pause: Callable[[], None]) -> None:
        self._pause = pause

    def close(self) -> None:
        self._engine.dispose()


def _engine_of(url: str) -> Engine:
    """With the drivers that are tested, and a connection for each thread of a crowd."""
    if url.startswith("mysql:"):
        url = f"{url.replace('mysql:', 'mysql+pymysql:', 1)}?ssl_disabled=true"
    # SQLite writes one after the other: a crowd waits for each other.
    patience = {"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else {}
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1), max_overflow=-1, **patience)
