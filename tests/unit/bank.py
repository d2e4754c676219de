"""A Celery app without a broker or a worker, whose locks are on a fake clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery

from celery_locks import LockedTask, Locks

if TYPE_CHECKING:
    from tests.unit.fakes import Room


def app(room: Room | None = None, **conf: Any) -> Celery:
    """An app; its store is that of the room, if one is given."""
    made = Celery("bank", broker="memory://", backend="cache+memory://", set_as_current=False)
    made.conf.update({"lock_store": "memory://bank", **conf})
    if room:
        locks = Locks.from_app(made)
        locks.store, locks.guard = room.store, room.guard
    return made


def task(function: Any = None, *, room: Room | None = None, conf: dict[str, Any] | None = None, **options: Any) -> Any:
    """A locked task of an app of its own."""

    def decorate(function: Any) -> Any:
        owner = app(room, **(conf or {}))
        made = owner.task(shared=False, **{"base": LockedTask, "name": "bank.withdraw", **options})(function)
        owner.finalize()
        return made

    return decorate(function) if function else decorate
