"""What a key may be called, in any store."""

from __future__ import annotations

from celery_locks.errors import LockConfigError


def require_name(key: object) -> str:
    """Refuse a key that not every store could keep."""
    if not isinstance(key, str) or not key:
        raise LockConfigError(f"a lock's key must be a text of at least one character, not {key!r}")
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError as error:
            stray = f"{key[error.start]!r} at {error.start}"
            raise LockConfigError(f"the key {key!r} cannot be written as UTF-8: take {stray} out of it") from None
    return key
