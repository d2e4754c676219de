"""Notes in etcd: a key each, under a lease that those of a process share."""

from __future__ import annotations

import abc
import math
from typing import TYPE_CHECKING

from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.forcing import look
from celery_locks.stores.etcd.marks import Marks
from celery_locks.stores.etcd.mending import LeaseUnknown
from celery_locks.stores.etcd.naming import note_name
from celery_locks.stores.notes import Notes

if TYPE_CHECKING:
    import contextlib

    from celery_locks.stores.etcd.wire import Talk


class EtcdNotes(Notes, abc.ABC):
    """The part of the store that keeps notes. One is kept for up to twice as long as was asked."""

    prefix: str
    _noted: dict[int, Marks]

    def note(self, name: str, seconds: float) -> None:
        marks = self._marks_for(math.ceil(2 * seconds))
        written = note_name(self.prefix, name)
        with self._talk() as talk:
            try:
                talk.ask(messages.TXN, messages.note(written, marks.lease(talk)))
            except LeaseUnknown:
                marks.forget()
                talk.ask(messages.TXN, messages.note(written, marks.lease(talk)))

    def is_noted(self, name: str) -> bool:
        with self._talk() as talk:
            return look(talk, note_name(self.prefix, name)) is not None

    def _marks_for(self, ttl: int) -> Marks:
        # As many as there are tasks with a length of time of their own.
        return self._noted.setdefault(ttl, Marks(ttl))

    @abc.abstractmethod
    def _talk(self, timeout: float | None = None) -> contextlib.AbstractContextManager[Talk]: ...
