"""A task's options, checked where they are made."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from celery_locks.duration import seconds, ttl
from celery_locks.errors import LockConfigError
from celery_locks.policies import NAMED, Fail, Requeue, Skip
from celery_locks.stores import hidden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery_locks.keys import KeySource
    from celery_locks.policies import Policy

OnLost: TypeAlias = Literal["raise", "kill", "flag"]
OnOutage: TypeAlias = Literal["requeue", "fail", "run"]
Unique: TypeAlias = Literal["until_start", "until_done"]
Countdown: TypeAlias = "float | Literal['auto']"

BEATS_A_TTL = 3
#: For a shorter ttl the beats would have to come faster than a thread can keep up.
SHORTEST_KEPT = 0.15
MOST_SLOTS = 1_000_000


@dataclass(frozen=True)
class Options:
    """How a job locks. Durations are seconds; each field is the task option `lock_<name>`."""

    key: KeySource = "{task}"
    ttl: float = 30.0
    heartbeat: bool = True
    wait: float = 0.0
    on_contention: Policy = "requeue"
    countdown: Countdown = "auto"
    max_requeues: int | None = None
    max_wait: float | None = None
    on_lost: OnLost = "raise"
    on_outage: OnOutage = "requeue"
    store: str | None = None
    fair: bool = True
    slots: int = 1
    shared: bool = False
    unique: Unique | None = None
    unique_ttl: float = 3600.0
    at_least: float = 0.0

    @classmethod
    def made(cls, given: Mapping[str, Any], *, where: str) -> Options:
        """Options from their `lock_` names. The error names `where` they were given and how to mend them."""
        for name in given:
            if name not in NAMES:
                raise LockConfigError(f"{where}: {unknown('option', name)}")
        checked = {NAMES[name]: _CHECKS[NAMES[name]](name, value, where) for name, value in given.items()}
        options = cls(**checked)
        options.beat_every(where)
        kind_of(options.slots, options.shared, where)
        return options

    def beat_every(self, where: str = "lock") -> float | None:
        """Seconds between beats; None when there is no heartbeat."""
        return beat_interval(self.ttl, heartbeat=self.heartbeat, where=where)


def beat_interval(ttl: float, *, heartbeat: bool, where: str) -> float | None:
    """A third of the ttl, so that two beats may fail before the lease is in danger."""
    if not _yes_or_no("heartbeat", heartbeat, where):
        return None
    if ttl < SHORTEST_KEPT:
        raise LockConfigError(
            f"{where}: a heartbeat cannot keep a ttl of {ttl:g} s: take at least {SHORTEST_KEPT:g} s,"
            " or switch it off with heartbeat=False"
        )
    return ttl / BEATS_A_TTL


def _optional_seconds(name: str, value: object, where: str) -> float | None:
    return None if value is None else seconds(name, value, where)


def _count(name: str, value: object, where: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise LockConfigError(f"{where}: {name} must be a whole number, 0 or more, or None, not {value!r}")


def _yes_or_no(name: str, value: object, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise LockConfigError(f"{where}: {name} must be True or False, not {value!r}")


def kind_of(slots: object, shared: object, where: str) -> tuple[int, bool]:
    """As how many, and how, a key is to be held: checked."""
    slots, shared = slots_of("slots", slots, where), _yes_or_no("shared", shared, where)
    if slots > 1 and shared:
        raise LockConfigError(
            f"{where}: slots={slots} and shared=True make no sense together: readers share a key however many they are;"
            " leave one out"
        )
    return slots, shared


def slots_of(name: str, value: object, where: str) -> int:
    """So many may hold a key: checked."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_SLOTS:
        return int(value)
    raise LockConfigError(f"{where}: {name} must be a whole number from 1 to {MOST_SLOTS}, not {value!r}")


def _countdown(name: str, value: object, where: str) -> Countdown:
    if value == "auto":
        return "auto"
    if isinstance(value, str):
        raise LockConfigError(f"{where}: {name} must be 'auto' or a number of seconds, not {value!r}")
    return seconds(name, value, where)


def _policy(name: str, value: Any, where: str) -> Policy:
    if isinstance(value, Requeue) and value.delay is not None:
        seconds(f"{name}=Requeue(delay)", value.delay, where)
    if (isinstance(value, str) and value in NAMED) or isinstance(value, (Requeue, Skip, Fail)):
        return value  # type: ignore[return-value]  # a known name is one of the literals
    if callable(value) and not isinstance(value, type):
        return value  # type: ignore[no-any-return]  # its answer is checked when it is given
    close = difflib.get_close_matches(str(value), NAMED, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "use 'requeue', 'skip', 'fail', Skip(result=...) or a callable"
    raise LockConfigError(f"{where}: {name}={value!r} is no policy: {hint}")


def _one_of(*words: str) -> Callable[[str, Any, str], Any]:
    def check(name: str, value: Any, where: str) -> Any:
        if isinstance(value, str) and value in words:
            return value
        raise LockConfigError(f"{where}: {name} must be one of {', '.join(map(repr, words))}, not {value!r}")

    return check


def _optional(check: Callable[[str, Any, str], Any]) -> Callable[[str, Any, str], Any]:
    return lambda name, value, where: None if value is None else check(name, value, where)


def _anything(_name: str, value: Any, _where: str) -> Any:
    return value


def _store(name: str, value: object, where: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise LockConfigError(f"{where}: {name} must be an alias in lock_stores or a URL, not {hidden(value)}")


def unknown(kind: str, name: str) -> str:
    """What to say of an option or setting that is none, or none yet."""
    plain = name.removeprefix("CELERY_").lower()
    if plain in IN_URL:
        return f"unknown {kind} {name}: write it into the store's URL, ?{plain.removeprefix('lock_')}=..."
    if plain in KNOWN:
        return f"{name} is a setting and no {kind} of a task: write app.conf.{name}"
    close = difflib.get_close_matches(plain, KNOWN, n=1)
    return f"unknown {kind} {name}: " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(NAMES)}")


_CHECKS: dict[str, Callable[[str, Any, str], Any]] = {
    "key": _anything,
    "ttl": ttl,
    "heartbeat": _yes_or_no,
    "wait": seconds,
    "on_contention": _policy,
    "countdown": _countdown,
    "max_requeues": _count,
    "max_wait": _optional_seconds,
    "on_lost": _one_of("raise", "kill", "flag"),
    "on_outage": _one_of("requeue", "fail", "run"),
    "store": _store,
    "fair": _yes_or_no,
    "slots": slots_of,
    "shared": _yes_or_no,
    "unique": _optional(_one_of("until_start", "until_done")),
    "unique_ttl": ttl,
    "at_least": seconds,
}

#: Option name to field.
NAMES = {f"lock_{field.name}": field.name for field in dataclasses.fields(Options)}
#: What may be set for a whole app.
KNOWN = {*NAMES, "lock_stores", "lock_prefix", "lock_restart_delay", "lock_stacks", "lock_tasks"}
#: And for its beats.
KNOWN |= {f"lock_beat_{name}" for name in ("catch_up", "key", "scheduler", "store", "ttl")}
#: What only the URL of a store can say.
IN_URL = {"lock_socket_timeout", "lock_fence_retention", "lock_session_timeout", "lock_try_timeout"}
