"""A Celery app without a broker or a worker, whose locks are on a fake clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from celery_locks import LockConfigError, LockedTask, Locks

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


def withdraw(user_id, amount=10): ...


def options_of(task):
    """What the declaration of a task came to."""
    return task._get_current_object()._plan.options if hasattr(task, "_get_current_object") else task._plan.options


def key_of(task, *args, **kwargs):
    made = task._get_current_object() if hasattr(task, "_get_current_object") else task
    (key,) = made._plan.keys(args, kwargs)
    return key


def refusal(**options: object) -> str:
    with pytest.raises(LockConfigError) as caught:
        task(withdraw, **options)
    assert "\n" not in caught.value.message
    return caught.value.message


def job(room: Room, function=None, **options):
    """A locked task on the key of its user; by default it shows who holds it."""

    def show(user_id):
        return room.holder(f"wallet:{user_id}")

    return task(function or show, room=room, **{"lock_key": "wallet:{user_id}", **options})
