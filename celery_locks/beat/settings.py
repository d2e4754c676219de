"""What is set for the beats of an app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks import config, duration, options
from celery_locks.errors import LockConfigError
from celery_locks.stores.naming import require_name

if TYPE_CHECKING:
    from celery_locks.config import Settings

WHERE = "the settings of beat"
#: The keys of entries begin so, and none of them may be that of the lead.
ENTRY = "beat:"
#: Due times that were missed for no longer than so many ttls are sent each, if nothing else is set.
TTLS = 4


class BeatSettings(NamedTuple):
    """How beats agree who sends."""

    #: The class that has the entries, as a path; None: those of `beat_schedule`, in memory.
    scheduler: str | None = None
    store: str | None = None
    key: str = "beat-leader"
    ttl: float = 15.0
    catch_up: float = 60.0

    @classmethod
    def of(cls, conf: Settings, app: str | None = None) -> BeatSettings:
        """The settings, checked. Apps of different names have a lead each, also where they share a store."""
        config.defaults(conf)
        given = {name: config.setting(conf, f"lock_beat_{name}") for name in cls._fields}
        found: dict[str, Any] = {
            name: _CHECKS[name](f"lock_beat_{name}", value) for name, value in given.items() if value is not None
        }
        ttl: float = found.get("ttl", BeatSettings().ttl)
        options.beat_interval(ttl, heartbeat=True, where=WHERE)
        key = f"{cls._field_defaults['key']}:{app}" if app else cls._field_defaults["key"]
        return cls(**{"key": key, "catch_up": TTLS * ttl, **found})


def _text(name: str, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise LockConfigError(f"{WHERE}: {name} must be a text, not {value!r}")


def _scheduler(name: str, value: object) -> object:
    return value if isinstance(value, type) else _text(name, value)


def _key(name: str, value: object) -> str:
    key = require_name(_text(name, value))
    if key.startswith(ENTRY):
        raise LockConfigError(f"{WHERE}: {name}={key!r} could be the key of an entry: do not begin it with {ENTRY!r}")
    return key


_CHECKS: dict[str, Any] = {
    "scheduler": _scheduler,
    "store": _text,
    "key": _key,
    "ttl": lambda name, value: duration.ttl(name, value, WHERE),
    "catch_up": lambda name, value: duration.seconds(name, value, WHERE),
}
