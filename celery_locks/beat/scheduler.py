"""The scheduler: Celery's, or another one, of which only the beat that leads sends."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from celery.beat import Scheduler, SchedulingError
from celery.utils.functional import is_numeric_value
from celery.utils.time import maybe_make_aware
from kombu.exceptions import OperationalError

from celery_locks.beat import due, inner
from celery_locks.beat.agenda import Agenda
from celery_locks.beat.book import Book
from celery_locks.beat.lead import LOOK, MARGIN, Lead
from celery_locks.beat.position import Position
from celery_locks.beat.unbroken import unbroken
from celery_locks.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_locks.beat.entry import EntryLock

    _Scheduler = Any
else:
    _Scheduler = Scheduler

logger = logging.getLogger("celery_locks.beat")

#: The header of a job that says for which due time it was sent.
DUE = "lock_due"
#: What could not be published is tried again after so many seconds.
AGAIN = timedelta(seconds=2)
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


class LockedScheduler(_Scheduler):  # type: ignore[misc]  # Celery's, without types
    """A scheduler for several beats, of which one sends: `celery beat -S celery_locks.beat.LockedScheduler`.

    It is one over that which `lock_beat_scheduler` names. What is due follows from the last due time that was sent,
    which the store keeps. A beat that is killed, or paused past its ttl, between publishing a job and noting that
    leaves it to be published once more, under the same id.
    """

    is_locked_scheduler = True

    def __new__(cls, app: Any, *_: Any, **__: Any) -> LockedScheduler:  # noqa: PYI034 - of a class made for it
        """One over the class that is set."""
        made: LockedScheduler = object.__new__(inner.over(cls, inner.settings(app).scheduler))
        return made

    def __init__(self, app: Any, *given: Any, **named: Any) -> None:
        self._set = inner.settings(app)
        locks = inner.opened(app, self._set.store)
        self._lead = Lead(locks.guard, self._set.key, self._set.ttl)
        self._book = Book(inner.positions(locks.store), self._set.key)
        self._agenda = Agenda()
        #: By entry, the job that was published last.
        self._published: dict[str, str] = {}
        #: Up to here another beat was seen to lead.
        self._led_until = _LONG_AGO
        #: Those that never overlap themselves.
        self._locks: dict[str, EntryLock] = {}
        self._is_ticking = False
        super().__init__(app, *given, **named)

    @property
    def info(self) -> str:
        """What is shown of it when beat starts."""
        lead = f"    . lead -> {self._set.key!r} for {self._set.ttl:g} s in {self._lead.store!r}"
        above: str = super().info
        return f"{above}\n{lead}" if above else lead

    def setup_schedule(self) -> None:
        """Read the entries, when beat starts and is not only shown."""
        inner.say_unconfirmed(self.app)
        super().setup_schedule()

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Take the entries of `beat_schedule`, of which some may have a lock."""
        super().merge_inplace(self._unlocked(b))

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        """Take entries beside those there are."""
        super().update_from_dict(self._unlocked(dict_))

    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due, if this beat leads; the seconds until it is to be called again."""
        self._is_ticking = True
        try:
            wait = self._lead.seek()
            if wait == 0.0:
                return self._led()
            if self._lead.leader is not None and not self._lead.is_out:
                self._led_until = self._now()
            longest: float = self.max_interval
            return min(wait, longest)
        finally:
            self._is_ticking = False

    def close(self) -> None:
        """Give the lead back. Celery calls it from a signal's handler too: not in the middle of a tick, then."""
        try:
            super().close()
        finally:
            if not self._is_ticking:
                self._lead.leave()

    def _unlocked(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """Entries as Celery knows them, after their locks are noted."""
        found = {}
        for name, fields in entries.items():
            said, found[name] = inner.parted(fields)
            lock = inner.entry_lock(self.app, name, said)
            self._locks.pop(name, None)
            if lock:
                self._locks[name] = lock
        return found

    def _led(self) -> float:
        try:
            return self._served()
        except StoreUnavailable as error:
            self._lead.doubt(error)
            return LOOK

    def _served(self) -> float:
        now, entries = self._now(), self.schedule
        if not (self._book.is_open(self._lead.fence) and self._book.see(entries, self._origin, now)):
            return self._deposed()
        times = self._agenda.times(entries, self._book, now)
        if not times or times[0][0] > now:
            waits: list[float] = [self.max_interval, *((times[0][0] - now).total_seconds() for _ in times[:1])]
            return max(0.0, min(self._lead.renews_in(), *waits))
        for look, at, name in times:
            if look > now or self._lead.is_due():
                break
            if self._is_due(name, entries[name], now) and not self._sent(name, entries[name], at, now):
                return self._deposed()
        return 0.0

    def _is_due(self, name: str, entry: Any, now: datetime) -> bool:
        """Whether its schedule agrees: it may be switched off, or not yet begin."""
        position = self._book[name]
        if position.due is not None or due.is_certain(entry):
            return True
        entry.last_run_at = due.seen_by(entry.schedule, position.last, self.app)
        try:
            is_due, again = self.is_due(entry)
        except Exception:
            # One entry must not stop the others.
            logger.exception("beat: whether %r is due cannot be told: it is asked again", name)
            is_due, again = False, None
        if not is_due:
            wait = again if is_numeric_value(again) else self.max_interval
            self._agenda.shut(name, now, now + timedelta(seconds=min(max(wait, MARGIN), self.max_interval)))
        return bool(is_due)

    def _sent(self, name: str, entry: Any, at: datetime, now: datetime) -> bool:
        """Send an entry for a due time, or put that off; False when another beat leads."""
        producer = self._connected(name, now)
        if producer is None:
            return True
        with unbroken():
            position = self._book[name]
            if position.due is None:
                limit = self._agenda.limit(name, now - timedelta(seconds=self._set.catch_up))
                position = Position(due.resumed(entry.schedule, at, limit), at, str(uuid.uuid4()))
                if not self._book.write(name, position):
                    return False
            if self._published.get(name) != position.task_id:
                if not self._lead.held():
                    return False
                if not self._is_published(entry, position, producer):
                    self._agenda.put_off(name, now + AGAIN)
                    return True
                self._published[name] = position.task_id
                self._count(entry, position)
            self._agenda.sent(name)
            return self._book.write(name, Position(position.last))

    def _is_published(self, entry: Any, position: Position, producer: Any) -> bool:
        """Publish it; False when the broker cannot be reached, so that it is to be tried again."""
        logger.info("beat: sending %s (%s), due at %s", entry.name, entry.task, position.due)
        try:
            self.apply_async(_job(entry, position, self._locks.get(entry.name)), producer=producer, advance=False)
        except Exception as error:
            if isinstance(error, SchedulingError) and isinstance(error.__context__, (OperationalError, OSError)):
                logger.error("beat: %s could not be sent and is tried again: %s", entry.name, error)  # noqa: TRY400 - as often as it fails
                return False
            logger.exception("beat: to send %s failed, and is not tried again for %s", entry.name, position.due)
        return True

    def _count(self, entry: Any, position: Position) -> None:
        """Have the scheduler that has the entry note that it was sent."""
        try:
            self.reserve(entry).last_run_at = due.seen_by(entry.schedule, position.last, self.app)
        except Exception:
            # It was sent, which is to be noted all the same.
            logger.exception("beat: %s was sent, and its scheduler could not note that", entry.name)

    def _connected(self, name: str, now: datetime) -> Any:
        """What publishes. To connect may take long, and the lead may be lost by then."""
        try:
            return self.producer
        except (OperationalError, OSError) as error:
            logger.error("beat: the broker cannot be reached, %s is tried again: %s", name, error)  # noqa: TRY400 - as often as it fails
            self._agenda.put_off(name, now + AGAIN)
            return None

    def _deposed(self) -> float:
        """Another beat leads, or our time is over."""
        if self._lead.held():
            self._lead.lose("another beat has taken it")
        return MARGIN

    def _origin(self, entry: Any) -> datetime:
        """What an entry counts from of which the store knows nothing: its last run, and nothing that others sent."""
        last: datetime = maybe_make_aware(entry.last_run_at).astimezone(timezone.utc)
        return max(last, self._led_until)

    def _now(self) -> datetime:
        now: datetime = self.app.now()
        return now.astimezone(timezone.utc)


def _job(entry: Any, position: Position, lock: EntryLock | None) -> Any:
    """An entry as it is sent. Celery's way to copy one loses its app."""
    job: Any = object.__new__(type(entry))
    vars(job).update(vars(entry))
    headers = {**(entry.options.get("headers") or {}), DUE: position.due and position.due.isoformat()}
    if lock:
        headers.update(lock.headers())
    job.options = {"task_id": position.task_id, **entry.options, "headers": headers}
    return job
