"""Mapped objects, written by sessions of SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import String, delete, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from celery_locks.fencing.sqlalchemy import Fenced, fenced
from tests.fencing.targets.sqlalchemy_core import engine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Lease


class _Base(DeclarativeBase):
    pass


class _Note(Fenced, _Base):
    __tablename__ = "fenced_notes"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[str] = mapped_column(String(100), default="")


class OrmTarget:
    def __init__(self, url: str) -> None:
        self._pause: Callable[[], None] = lambda: None
        self._engine = engine_of(url)
        event.listen(self._engine, "before_cursor_execute", self._announce)

    def _announce(self, *about: Any) -> None:
        if about[2].startswith("UPDATE"):
            self._pause()

    def prepare(self, names: Sequence[str]) -> None:
        _Base.metadata.create_all(self._engine)
        with Session(self._engine) as session, session.begin():
            session.execute(delete(_Note).where(_Note.name.in_(names)))
            session.add_all([_Note(name=name) for name in names])

    def plain(self, name: str, value: str) -> None:
        with Session(self._engine) as session, session.begin():
            session.get_one(_Note, name).value = value

    def guarded(self, name: str, value: str, lease: Lease) -> None:
        with Session(self._engine) as session, session.begin():
            note = session.get_one(_Note, name)
            note.value = value
            fenced(session, note, lease)

    def read(self, name: str) -> str:
        with Session(self._engine) as session:
            return session.get_one(_Note, name).value

    def fence(self, name: str) -> int:
        with Session(self._engine) as session:
            return session.get_one(_Note, name).fence

    def before_write(self, pause: Callable[[], None]) -> None:
        self._pause = pause

    def close(self) -> None:
        self._engine.dispose()
