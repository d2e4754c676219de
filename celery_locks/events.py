"""What happens to locks, each as one frozen record. A receiver takes exactly one."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_locks.lease import Claim


_worker: str | None = None


def happen_in(worker: str) -> None:
    """Name the worker that this process is, or belongs to, for all events from now on."""
    global _worker  # noqa: PLW0603 - a process is one worker's
    _worker = worker


@dataclass(frozen=True)
class Event:
    """Something happened to a key.

    `owner` names the execution it happened to; `task` and `task_id` are set where a job is behind it. `keys`:
    all that its lock is on, where that are several.
    """

    key: str
    owner: str
    task: str | None = field(default=None, kw_only=True)
    task_id: str | None = field(default=None, kw_only=True)
    pid: int = field(default_factory=os.getpid, kw_only=True)
    #: The Celery or RQ worker it happened in, by its name.
    worker: str | None = field(default_factory=lambda: _worker, kw_only=True)
    keys: tuple[str, ...] = field(default=(), kw_only=True)


def data(event: Event) -> dict[str, Any]:
    """An event as data, which its line in the log has as `record.lock`."""
    return {"lock": {"event": type(event).__name__.lower(), **asdict(event)}}


def of(claim: Claim) -> dict[str, Any]:
    """What an event says of whose it is."""
    return {"task": claim.task, "task_id": claim.task_id, "keys": claim.keys if claim.others else ()}


@dataclass(frozen=True)
class Acquired(Event):
    """The key was taken after `waited` seconds in the slot.

    `attempts`: how often its job had gone back before. `delayed`: seconds since it first met its key taken, by the
    clocks of the workers it met; None for one that never did.
    """

    fence: int
    waited: float
    attempts: int | None = None
    delayed: float | None = None


@dataclass(frozen=True)
class Contended(Event):
    """The key was found taken. `waited`: seconds spent waiting in the slot before giving up.

    `age`: for how long the holder has had it. `attempts`: how often the job had gone back before.
    """

    holder: str | None
    remaining: float | None
    place: int | None
    waited: float
    age: float | None = None
    attempts: int | None = None


@dataclass(frozen=True)
class Requeued(Event):
    """The job was put back on its queue and runs again in `delay` seconds at the latest; `attempts` so far.

    `place`: in line, when it found the key taken.
    """

    holder: str | None
    delay: float
    attempts: int
    place: int | None = None


@dataclass(frozen=True)
class Woken(Event):
    """A job that waits in a worker, away from any slot, was called: its turn has come, or it is the next.

    `waited`: seconds since it first met its key taken, by the clocks of the workers it met; `attempts` so far.
    """

    waited: float
    attempts: int


@dataclass(frozen=True)
class Skipped(Event):
    """The job was not run because its key was taken, as its policy wishes."""

    holder: str | None
    reason: str


@dataclass(frozen=True)
class Duplicate(Event):
    """A job was not sent: one is queued or runs that has its place. `owner`, `task` and `task_id` are that one's.

    Or `is_copy`: the message of a job came once more after the job had ended, and was not run.
    """

    is_copy: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Released(Event):
    """The key was given back after `held` seconds."""

    fence: int
    held: float


@dataclass(frozen=True)
class Freed(Event):
    """The process that held the key has died, and the worker gave it back. `pid` is the dead process."""


@dataclass(frozen=True)
class Expired(Event):
    """A lease was found expired when it was to be released: the work outlived it."""

    fence: int
    held: float


@dataclass(frozen=True)
class Lost(Event):
    """A lease ended while its work was going on."""

    fence: int
    reason: str


@dataclass(frozen=True)
class Beat(Event):
    """So many leases were renewed in one round trip, which took so many seconds. `key` and `owner` are of the first."""

    leases: int
    took: float


@dataclass(frozen=True)
class Outage(Event):
    """The store could not be reached. `during`: acquire, renew or release."""

    during: str
    reason: str
