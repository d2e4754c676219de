"""An entry of a schedule that never overlaps itself: each of its jobs holds a key of the entry while it runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks import config, duration
from celery_locks.beat.settings import ENTRY
from celery_locks.canvas.carried import HEADER, Carried
from celery_locks.canvas.plans import TOLD, told
from celery_locks.errors import LockConfigError
from celery_locks.lease import new_owner
from celery_locks.locks import Locks
from celery_locks.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The field of an entry that says so, and what may be said there.
FIELD = "lock"
_KNOWN = (*TOLD, "ttl", "travel")
#: What a run finds that comes while the one before it still runs.
_SKIPPED = {"lock_on_contention": "skip"}


class EntryLock(NamedTuple):
    """How the jobs of an entry take its key: as a workflow of one task does, so that any task can."""

    key: str
    options: Options
    travel: float

    @classmethod
    def of(cls, app: Any, name: str, said: Any) -> EntryLock | None:
        """What an entry says of its lock, checked; None when it has none."""
        if said is None or said is False:
            return None
        where = f"beat_schedule[{name!r}]"
        given = _given(said, where)
        travel = given.pop("travel", None)
        settings = {name: each for name, each in config.defaults(app.conf).items() if name[5:] in (*TOLD, "ttl")}
        mine = {f"lock_{option}": each for option, each in given.items()}
        options = Options.made({**settings, **_SKIPPED, **mine}, where=where)
        _check(app, options, where)
        options = dataclasses.replace(options, key=f"{ENTRY}{name}")
        return cls(f"{ENTRY}{name}", options, options.ttl if travel is None else duration.ttl("travel", travel, where))

    def headers(self) -> dict[str, str]:
        """What the message of one job says of it."""
        options, owner = self.options, new_owner("baton")
        carried = Carried(
            self.key,
            owner,
            step="1",
            next=None,
            together=False,
            ttl=options.ttl,
            travel=self.travel,
            options=told(options),
        )
        return {HEADER: carried.written()}


def parted(fields: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What the fields of an entry say of its lock, and the others, which Celery knows.

    `add_periodic_task` puts what it does not know among the options of the job.
    """
    others = {name: each for name, each in fields.items() if name != FIELD}
    options = others.get("options") or {}
    if FIELD in options:
        others["options"] = {name: each for name, each in options.items() if name != FIELD}
    return fields.get(FIELD, options.get(FIELD)), others


def _given(said: Any, where: str) -> dict[str, Any]:
    if said is True:
        return {}
    if not isinstance(said, dict):
        raise LockConfigError(f"{where}: lock must be True or options such as {{'ttl': 60}}, not {said!r}")
    for name in said:
        if name not in _KNOWN:
            raise LockConfigError(f"{where}: unknown option {name!r} of lock: known are {', '.join(sorted(_KNOWN))}")
    return {**said}


def _check(app: Any, options: Options, where: str) -> None:
    if not isinstance(options.on_contention, str):
        raise LockConfigError(f"{where}: on_contention travels in a message: use 'skip', 'requeue' or 'fail'")
    if options.on_outage == "run":
        raise LockConfigError(
            f"{where}: no job of a locked entry runs without its key: on_outage is 'requeue' or 'fail'"
        )
    if "celery_locks.worker:Keeping" not in app.steps["worker"]:
        raise LockConfigError(
            f"{where}: the workers of this app know nothing of locks, and would let its runs overlap: call"
            " celery_locks.install(app) where the app is made"
        )
    store = Locks.from_app(app, options.store).store
    if not store.hands_over:
        raise LockConfigError(
            f"{where}: {store!r} cannot hand a lock over from one try of a job to the next: set lock_store, or"
            " {'lock': {'store': ...}}, to Redis, etcd or sql+..."
        )
