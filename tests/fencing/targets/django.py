"""Notes in a Django database, written with and without the guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connection, transaction

from tests.fencing import bank  # which sets Django up: before that no model can be imported

# isort: split
from celery_locks.fencing.django import fenced
from tests.fencing.bank.models import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Lease


class DjangoTarget:
    """Each thread has a connection, as Django gives it one, and leaves none behind."""

    def __init__(self, url: str) -> None:
        self._served = bank.served(url)
        self._served.__enter__()
        self._pause: Callable[[], None] | None = None

    def prepare(self, names: Sequence[str]) -> None:
        with bank.own_connection():
            if Note._meta.db_table not in connection.introspection.table_names():
                bank.make_tables(Note)
            Note.objects.all().delete()
            Note.objects.bulk_create(Note(name=name) for name in names)

    def plain(self, name: str, value: str) -> None:
        note = Note(name=name, value=value)
        with bank.own_connection(), connection.execute_wrapper(self._before):
            note.save(force_update=True)

    def guarded(self, name: str, value: str, lease: Lease) -> None:
        note = Note(name=name, value=value)
        with bank.own_connection(), connection.execute_wrapper(self._before):
            fenced(note, lease)

    def claim(self, name: str, lease: Lease) -> str:
        with bank.own_connection(), transaction.atomic():
            return str(Note.objects.claim(lease, name=name).value)

    def read(self, name: str) -> str:
        with bank.own_connection():
            return str(Note.objects.get(name=name).value)

    def fence(self, name: str) -> int:
        with bank.own_connection():
            return Note.objects.get(name=name).fence or 0

    def before_write(self, pause: Callable[[], None]) -> None:
        self._pause = pause

    def close(self) -> None:
        self._served.__exit__(None, None, None)

    def _before(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if self._pause and sql.startswith("UPDATE"):
            self._pause()
        return execute(sql, *rest)
