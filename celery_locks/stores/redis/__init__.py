"""Locks in Redis or Valkey: one server, Sentinel or Cluster. The server's clock ends a lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_locks.errors import LockConfigError
from celery_locks.stores.base import DEFAULT_PREFIX
from celery_locks.stores.redis.address import parse
from celery_locks.stores.redis.connect import wire_for
from celery_locks.stores.redis.store import DAY, RedisStore

if TYPE_CHECKING:
    from celery_locks.stores.redis.address import Address

__all__ = ["RedisStore", "from_url"]

#: What a URL may set of these, and how much that is at most.
_LONGEST = {"fence_retention": (3650 * DAY, "ten years"), "claim_window": (3600.0, "an hour")}


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> RedisStore:
    """A store for redis://, rediss://, valkey://, unix://, redis+sentinel:// or redis+cluster://."""
    address = parse(url)
    if address.form == "cluster" and prefix.partition("{")[2].startswith("}"):
        raise LockConfigError(f"lock_prefix {prefix!r}: '{{}}' in it would put a lock and its fence on different nodes")
    own: Any = {name: _asked(address, name, longest) for name, longest in _LONGEST.items() if name in address.query}
    return RedisStore(wire_for(address, options), name=address.shown, prefix=prefix, **own)


def _asked(address: Address, name: str, longest: tuple[float, str]) -> float:
    text, (most, said) = address.query.pop(name), longest
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= most:
        raise LockConfigError(f"{address.shown!r}: {name} must be seconds above 0 and at most {said}, not {text!r}")
    return seconds
