"""What a lock and the mark of an owner are called in etcd."""

from __future__ import annotations

import hashlib
import math
import re
from typing import NamedTuple

from celery_locks.errors import LockConfigError
from celery_locks.stores.naming import require_name

#: No key has these letters in its name: where the prefix ends and where the key is never in doubt.
_MEMBER = re.compile(r"/([rs])/[0-9a-f]{32}")
_ESCAPES = {"%": "%25", "{": "%7B", "}": "%7D"}


class Names(NamedTuple):
    """The names of one owner's claim on a key."""

    #: The key that is there while the lock is taken, with its owner as value: `lock:{wallet:42}`.
    lock: str
    #: The key that is there for a while after this owner has given the lock back: `lock:done:3f0c...`.
    mark: str
    owner: str
    #: What the names of all who have the key begin with.
    base: str

    @classmethod
    def of(cls, prefix: str, key: str, owner: str, kind: str = "") -> Names:
        """The names for an owner and a key. `kind`: `r`, it holds the key with others that read; `s`, with others."""
        base = lock_name(prefix, key)
        lock = f"{base}/{kind}/{_digest(owner)}" if kind else base
        return cls(lock, f"{prefix}done:{_digest(base, owner)}", owner, base)


def lock_name(prefix: str, key: str) -> str:
    """The name of a key's lock."""
    return f"{prefix}{{{escaped(require_name(key))}}}"


def note_name(prefix: str, name: str) -> str:
    """What a note is called: as no lock is."""
    return f"{prefix}note:{escaped(require_name(name))}"


def positions_name(prefix: str, schedule: str) -> str:
    """What says who may write how far a schedule has come. Its length keeps the names of two schedules apart."""
    return f"{prefix}positions:{len(schedule)}:{escaped(require_name(schedule))}"


def escaped(text: str) -> str:
    """A key, or a beginning of one, as it is written in a lock's name."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text) if any(map(text.__contains__, _ESCAPES)) else text


def members(base: str) -> tuple[str, str]:
    """Where the names of those begin and end that hold a key with others: `lock:{wallet:42}/r/3f0c...`."""
    return f"{base}/r/", f"{base}/t"


def awaited(base: str) -> str:
    """What is there while somebody waits for a key alone. It sorts between the lock and its members."""
    return f"{base}/awaited"


def slots_name(base: str) -> str:
    """What holds the number of slots of a key. It sorts behind its members: it is to wake nobody."""
    return f"{base}/up_to"


def kind_of(base: str, name: str) -> str | None:
    """As what this one has the key: `r` or `s` with others, or empty; None when it is no holder of it."""
    if name == base:
        return ""
    found = _MEMBER.fullmatch(name.removeprefix(base))
    return found[1] if found and name.startswith(base) else None


def key_of(prefix: str, name: str) -> str | None:
    """The key whose lock has this name; None when it is a lock of another prefix that begins like this one."""
    key, brace, rest = name[len(prefix) + 1 :].partition("}")
    if not brace or "{" in key or (rest and not _MEMBER.fullmatch(rest)):
        return None
    return unescaped(key)


def unescaped(text: str) -> str:
    """What was escaped."""
    return text.replace("%7B", "{").replace("%7D", "}").replace("%25", "%")


def whole_seconds(ttl: float) -> int:
    """A ttl as etcd counts it. Rounded up: its lease must not end before ours."""
    return max(1, math.ceil(ttl))


def _digest(*parts: str) -> str:
    written = b"".join(b"%d:%s" % (len(raw), raw) for raw in map(as_bytes, parts))
    return hashlib.blake2b(written, digest_size=16).hexdigest()


def as_bytes(text: str) -> bytes:
    """A text as etcd keeps it."""
    try:
        return text.encode()
    except UnicodeError as error:
        raise LockConfigError(
            f"a key or owner cannot be written as UTF-8 ({error}): take the stray surrogate out of it"
        ) from None
