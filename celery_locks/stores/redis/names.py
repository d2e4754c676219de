"""What a lock is called in Redis: its key in braces, behind the prefix."""

from __future__ import annotations

from celery_locks.stores.naming import require_name

_SPECIAL = "*?[]\\"


def lock_name(prefix: str, key: str) -> str:
    """The name of a key's lock."""
    # The braces put all names of one key on one node of a cluster; a brace in the key must not end them early.
    return f"{prefix}{{{_escaped(require_name(key))}}}"


def note_name(prefix: str, name: str) -> str:
    """What a note is called: as no lock is."""
    return f"{lock_name(prefix, name)}:note"


def positions_name(prefix: str, schedule: str) -> str:
    """Where it is written how far a schedule has come."""
    return f"{lock_name(prefix, schedule)}:positions"


def key_of(prefix: str, name: bytes | str) -> str:
    """The key whose lock has this name."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return text[len(prefix) + 1 : -1].replace("%7D", "}").replace("%25", "%")


def glob(prefix: str, pattern: str) -> str:
    """What the names of locks match whose keys match the pattern."""
    literal = "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in prefix)
    return f"{literal}{{{_escaped(pattern)}}}"


def _escaped(key: str) -> str:
    return key.replace("%", "%25").replace("}", "%7D") if "}" in key or "%" in key else key
