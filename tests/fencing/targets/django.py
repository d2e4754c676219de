"""Notes in a Django database, written with and without the guard."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from tests.fencing import bank  # which sets Django up: before that no model can be imported

# isort: split
from celery_locks.fencing.django import fenced
from tests.fencing.bank.models import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Lease


_numbers = itertools.count(1)


class DjangoTarget:
    """Each thread has a connection, as Django gives it one, and leaves none behind. The main thread keeps its own."""

    def __init__(self, url: str) -> None:
        self._alias = f"target {next(_numbers)}"
        self._served = bank.served(url, self._alias)
        self._served.__enter__()
        self._notes = Note.objects.using(self._alias)
        self._pause: Callable[[], None] | None = None

    def prepare(self, names: Sequence[str]) -> None:
        with self._connection():
            if Note._meta.db_table not in connections[self._alias].introspection.table_names():
                bank.make_tables(Note, alias=self._alias)
            self._notes.all().delete()
            self._notes.bulk_create(Note(name=name) for name in names)

    def plain(self, name: str, value: str) -> None:
        note = Note(name=name, value=value)
        with self._connection(), connections[self._alias].execute_wrapper(self._before):
            note.save(force_update=True, using=self._alias)

    def guarded(self, name: str, value: str, lease: Lease) -> None:
        note = Note(name=name, value=value)
        with self._connection(), connections[self._alias].execute_wrapper(self._before):
            fenced(note, lease, using=self._alias)

    def claim(self, name: str, lease: Lease) -> str:
        with self._connection(), transaction.atomic(using=self._alias):
            return str(self._notes.claim(lease, name=name).value)

    def read(self, name: str) -> str:
        with self._connection():
            return str(self._notes.get(name=name).value)

    def fence(self, name: str) -> int:
        with self._connection():
            return self._notes.get(name=name).fence or 0

    def before_write(self, pause: Callable[[], None]) -> None:
        self._pause = pause

    def close(self) -> None:
        self._served.__exit__(None, None, None)

    def _connection(self) -> contextlib.AbstractContextManager[None]:
        is_main = threading.current_thread() is threading.main_thread()
        return contextlib.nullcontext() if is_main else bank.own_connection(self._alias)

    def _before(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if self._pause and sql.startswith("UPDATE"):
            self._pause()
        return execute(sql, *rest)
