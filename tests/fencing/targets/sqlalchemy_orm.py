"""Mapped objects, written by sessions of SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import String, delete
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from celery_locks.fencing.sqlalchemy import Fenced, fenced
from tests.fencing.engines import EngineTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.lease import Lease


class _Base(DeclarativeBase):
    pass


class _Note(Fenced, _Base):
    __tablename__ = "fenced_notes"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[str] = mapped_column(String(100), default="")


class OrmTarget(EngineTarget):
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
