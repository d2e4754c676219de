"""A name for a set of arguments that survives a trip through JSON."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_SCALARS = (str, int, float, bool, type(None))


def digest(arguments: Mapping[str, Any]) -> str:
    """A name for a set of arguments: equal for equal arguments, also after a trip through JSON."""
    text = json.dumps(_plain(dict(arguments)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    """The value as JSON would bring it back: tuples are lists, names are text, dates and the like are tagged text."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, Mapping):
        return {"": {_name(name): _plain(each) for name, each in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(json.dumps(_plain(each), sort_keys=True) for each in value)}
    return _tagged(value)


def _name(name: Any) -> str:
    return name if isinstance(name, str) else json.dumps(_plain(name))


def _tagged(value: Any) -> Any:
    for kind, write in _TEXTS.items():
        if isinstance(value, kind):
            return {kind.__name__: write(value)}
    raise LockConfigError(
        f"no stable digest can be made of an argument of type {type(value).__name__}: name the fields that matter"
        " in lock_key, for example 'tenant:{order.tenant_id}', or use a callable"
    )


_TEXTS: dict[type, Callable[[Any], str]] = {
    dt.datetime: dt.datetime.isoformat,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
    dt.timedelta: lambda span: repr(span.total_seconds()),
    decimal.Decimal: str,
    uuid.UUID: str,
    bytes: bytes.hex,
}
