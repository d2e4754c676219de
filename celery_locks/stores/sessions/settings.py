"""How long a session waits, and is waited for, from a URL's options."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from celery_locks.errors import LockConfigError
from celery_locks.stores.sessions.session import Times
from celery_locks.stores.url import hidden

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

TIMEOUT = 2.0
#: A holder that is frozen or cut off keeps its keys for so long. As long as a lease lives by default.
IDLE_TIMEOUT = 30.0
SHORTEST_IDLE_TIMEOUT = 2.0
LONGEST = 86_400.0


class Asked(NamedTuple):
    """What a URL asks for: where, what a message may show of that, and how."""

    place: str
    name: str
    options: dict[str, Any]
    times: Times


def asked(url: str, options: Mapping[str, Any]) -> Asked:
    """Take a URL apart. What stands in it goes before the options beside it."""
    place, _, query = url.partition("?")
    name = hidden(place)
    found = {**options, **dict(parse_qsl(query, keep_blank_values=True))}
    return Asked(place, name, found, _times(name, found))


def _times(shown: str, options: MutableMapping[str, Any]) -> Times:
    """Take `timeout` and `idle_timeout` out of the options."""
    timeout = _seconds(shown, "timeout", options.pop("timeout", TIMEOUT), 0.001)
    return Times(
        timeout, _seconds(shown, "idle_timeout", options.pop("idle_timeout", IDLE_TIMEOUT), SHORTEST_IDLE_TIMEOUT)
    )


def _seconds(shown: str, name: str, value: object, least: float) -> float:
    with contextlib.suppress(TypeError, ValueError):
        seconds = float(value)  # type: ignore[arg-type]  # that is what is tried
        if least <= seconds <= LONGEST and not math.isnan(seconds):
            return seconds
    raise LockConfigError(f"{shown!r}: {name} must be seconds, at least {least:g} and at most a day, not {value!r}")


def naming(prefix: str, key: str) -> bytes:
    """Prefix and key as one text that no other two give: joined, "a:" with "b" and "a" with ":b" would be one."""
    return f"{len(prefix)}:{prefix}{key}".encode("utf-8", "surrogatepass")
