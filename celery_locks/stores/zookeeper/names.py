"""Where a lock is kept in ZooKeeper's tree, and what is written there."""

from __future__ import annotations

import hashlib
import json
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from celery_locks.errors import LockConfigError
from celery_locks.stores.naming import require_name

#: What a node's name is made of as it is. Neither the comma that ends a prefix nor the ~ of a short name is among it.
_ODD = re.compile(rb"[^A-Za-z0-9_:@=+.-]|^\.")
_LONGEST = 200
#: ZooKeeper takes a megabyte in one request (jute.maxbuffer), and ends the connection of whoever sends more.
_LARGEST = 500_000


class Name(NamedTuple):
    """A lock's node, that of its owner, and what is written in the first."""

    lock: str
    mark: str
    data: bytes
    #: The node above the first, if it is that of one of several who hold the key.
    crowd: str = ""


class Folders(NamedTuple):
    """Where the locks of one prefix are: nodes by key, and beside them nodes by owner."""

    locks: str
    owners: str

    @classmethod
    def of(cls, chroot: str, prefix: str) -> Folders:
        """The two of a prefix."""
        name = _short(prefix)
        return cls(f"{chroot}/{name},locks", f"{chroot}/{name},owners")

    def lock(self, key: str) -> str:
        """The node of a key."""
        return f"{self.locks}/{_short(require_name(key))}"

    def name(self, key: str, owner: str) -> Name:
        """The nodes of a key that an owner has."""
        lock, data = self.lock(key), json.dumps([key, owner]).encode()
        if len(data) > _LARGEST:
            raise LockConfigError(f"a key and its owner must be shorter than {_LARGEST} bytes, not {len(data)}")
        return Name(lock, f"{self.owners}/{hashlib.sha256(data).hexdigest()}", data)

    def member(self, name: Name) -> Name:
        """The same for an owner that holds the key with others: their nodes are below that of the key."""
        return name._replace(lock=f"{name.lock}/{name.mark.rpartition('/')[2]}", crowd=name.lock)

    def joins(self, key: str) -> str:
        """What counts who joins others. Keys share it, and it stays: a count that was seen never comes back."""
        return f"{self._crowds}/joins/{hashlib.sha256(require_name(key).encode()).hexdigest()[:2]}"

    def awaited(self, key: str) -> str:
        """What is there while somebody waits for a key alone that several hold."""
        return f"{self._crowds}/waits/{_short(require_name(key))}"

    def slots(self, key: str) -> str:
        """What holds the number of slots of a key."""
        return f"{self._crowds}/slots/{_short(require_name(key))}"

    @property
    def _crowds(self) -> str:
        return f"{self.locks.removesuffix(',locks')},crowds"

    def key(self, node: str) -> str | None:
        """The key of a node below `locks`; None where its name had to be shortened, or is none of ours."""
        try:
            return None if "~" in node else unquote_to_bytes(node).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return None


def written(data: bytes | None) -> tuple[str, str] | None:
    """The key and the owner that a node names; None when it is none of ours."""
    try:
        key, owner = json.loads(data or b"")
    except (ValueError, TypeError, RecursionError):
        return None
    return (key, owner) if isinstance(key, str) and isinstance(owner, str) else None


class Crowded(NamedTuple):
    """What is written in the node of a key that several hold."""

    key: str
    #: They read; else each has a slot.
    readers: bool

    def to_data(self) -> bytes:
        """As it is written. No holder of a key is written so."""
        return json.dumps(["crowd", self.key, "r" if self.readers else "s"]).encode()


def crowded(data: bytes | None) -> Crowded | None:
    """The same as it is read; None when it is something else."""
    try:
        word, key, kind = json.loads(data or b"")
    except (ValueError, TypeError, RecursionError):
        return None
    return Crowded(key, kind == "r") if word == "crowd" else None


def _short(text: str) -> str:
    whole = text.encode("utf-8", "surrogatepass")
    quoted = _ODD.sub(lambda odd: b"%%%02X" % ord(odd[0]), whole).decode("ascii")
    if len(quoted) > _LONGEST:
        return f"{quoted[: _LONGEST // 3]}~{hashlib.sha256(whole).hexdigest()}"
    return quoted
