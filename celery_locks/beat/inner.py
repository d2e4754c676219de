"""What a locked scheduler is made over: the class that has the entries, and the store that says who sends."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery.beat import Scheduler
from celery.utils.imports import load_extension_class_names, symbol_by_name

from celery_locks.annotation import Refused
from celery_locks.beat.entry import EntryLock
from celery_locks.beat.entry import parted as split
from celery_locks.beat.settings import WHERE, BeatSettings
from celery_locks.errors import LockConfigError
from celery_locks.locks import Locks
from celery_locks.stores.positions import Positions

if TYPE_CHECKING:
    from celery_locks.stores import Store

logger = logging.getLogger("celery_locks.beat")

_ALIASES = "celery.beat_schedulers"


class InMemory(Scheduler):
    """The entries of `beat_schedule`. Of what was sent it keeps nothing: the store does."""

    def setup_schedule(self) -> None:
        """Celery's own takes its own entries out again."""
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)


def settings(app: Any) -> BeatSettings:
    """What is set, checked; a mistake stops beat with one line."""
    try:
        return BeatSettings.of(app.conf, app.main)
    except LockConfigError as error:
        raise Refused(error.message) from None


def opened(app: Any, alias: str | None) -> Locks:
    """The locks of the store that says who sends, not yet connected."""
    try:
        locks = Locks.from_app(app, alias)
        positions(locks.store)
    except LockConfigError as error:
        raise Refused(error.message) from None
    return locks


def say_unconfirmed(app: Any) -> None:
    """Warn where nobody would know that a job was not taken: AMQP answers to no message unless it is asked to."""
    with app.connection_for_write() as connection:
        if connection.transport.driver_type == "amqp" and not connection.transport_options.get("confirm_publish"):
            logger.warning(
                "beat: this broker is not asked to confirm what it is sent: a due time at which it dies may be lost."
                " Set broker_transport_options = {'confirm_publish': True}"
            )


def entry_lock(app: Any, name: str, said: Any) -> EntryLock | None:
    """The lock of an entry; a mistake stops beat with one line."""
    try:
        return EntryLock.of(app, name, said)
    except LockConfigError as error:
        raise Refused(error.message) from None


def parted(fields: Any) -> tuple[Any, Any]:
    """What an entry says of its lock, and the rest; one that is made already says nothing."""
    return split(fields) if isinstance(fields, Mapping) else (None, fields)


def positions(store: Store) -> Positions:
    """The store, as one that keeps how far a schedule has come."""
    if not isinstance(store, Positions):
        raise LockConfigError(
            f"{WHERE}: {store!r} keeps no positions of a schedule, so a new leader would not know what was sent: set"
            " lock_beat_store, or lock_store, to Redis, Valkey, etcd or sql+..."
        )
    return store


def _aliases() -> dict[str, str]:
    """Short names that packages give to their schedulers."""
    named: Any = load_extension_class_names(_ALIASES)
    return dict(named)


def over(cls: type, named: Any) -> type:
    """A class that is a locked scheduler over the one that is named."""
    below = InMemory if named is None else _found(named)
    return cls if issubclass(cls, below) else _joined(cls, below)  # type: ignore[arg-type]  # a class is hashable


@functools.cache
def _joined(cls: type, below: type) -> type:
    return type(cls.__name__, (cls, below), {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _found(named: Any) -> type:
    try:
        found: Any = symbol_by_name(named, aliases=_aliases())
    except (ImportError, AttributeError, ValueError) as error:
        raise Refused(f"{WHERE}: lock_beat_scheduler={named!r} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Scheduler)) or hasattr(found, "is_locked_scheduler"):
        raise Refused(
            f"{WHERE}: lock_beat_scheduler={named!r} is to name the scheduler that has the entries, a class of"
            " celery.beat:Scheduler's kind such as django_celery_beat.schedulers:DatabaseScheduler"
        )
    if any(each.__module__.partition(".")[0] == "redbeat" for each in found.__mro__):
        raise Refused(
            f"{WHERE}: redbeat has a lock of its own, shows only what is due at the moment, and keeps in Redis itself"
            " what was sent: run it alone, with celery beat -S redbeat.RedBeatScheduler"
        )
    return found
