"""One lock file: what is written in it, and the lock that lives in it while it is open."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import threading
import time
import weakref
from typing import NamedTuple, final

from celery_locks.lease import Busy, Holding

SUFFIX = ".lock"
#: A name in a folder may have 255 bytes, on some encrypted disks 143.
LONGEST_NAME = 120

_MODE = 0o666  # the umask decides
_ODD = re.compile(rb"[^a-z0-9_.-]")


class Written(NamedTuple):
    """What is written in a lock file: whose it is, or was, and the highest fence given so far."""

    prefix: str = ""
    key: str = ""
    owner: str = ""
    fence: int = 0

    @classmethod
    def of(cls, text: bytes) -> Written:
        """A crash may leave anything, and nothing in a file may stop its key from being taken."""
        try:
            # A shorter line may have been written over a longer one: what follows it says nothing.
            found = json.loads(text.partition(b"\n")[0])
            return cls(*_sound(found["prefix"], found["key"], found["owner"], found["fence"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            return cls()

    def line(self) -> bytes:
        """As it is written: one line of JSON."""
        return json.dumps(self._asdict()).encode() + b"\n"

    def name(self) -> str:
        """The file's name: readable, and the same on disks that do not tell capitals from small letters."""
        plain = f"{_quoted(self.prefix)},{_quoted(self.key)}"
        if len(plain) > LONGEST_NAME:
            plain = f"{plain[: LONGEST_NAME // 3]}~{hashlib.sha256(plain.encode()).hexdigest()}"
        return plain + SUFFIX

    def holding(self) -> Holding:
        """As a store shows it."""
        return Holding(self.key, self.owner or "unknown", self.fence, None)

    def busy(self) -> Busy:
        """As it is answered to whoever finds the key taken. Its fence is the time at which it was."""
        return Busy(self.owner, age=max(0.0, time.time() - self.fence / 1_000_000)) if self.owner else Busy()


@final
class LockFile:
    """An open file. A forked child closes its copy, or it would keep the lock after the holder's death."""

    __slots__ = ("__weakref__", "_fd", "_identity", "fence", "path")

    def __init__(self, path: str, flags: int) -> None:
        self._fd = -1
        self.fence = 0
        self.path = path
        with _opening:
            # A link in a folder that others may write to could lead to any file.
            self._fd = os.open(path, flags | os.O_NOFOLLOW, _MODE)
            _files.add(self)
        self._identity = _identity(os.fstat(self._fd))

    def lock(self, kind: int) -> bool:
        """Take the lock, shared or exclusive, if nobody is in the way."""
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_named(self) -> bool:
        """Whether the file is open and still the one its path leads to. The lock of any other protects nothing."""
        if self._fd < 0:
            return False
        try:
            return _identity(os.lstat(self.path)) == self._identity
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self) -> Written:
        """What is written in it; nothing where it cannot be made out."""
        return Written.of(os.pread(self._fd, min(os.fstat(self._fd).st_size, 1 << 20), 0))

    def write(self, written: Written) -> None:
        """Write in place, so that the file stays the same. Not flushed: after a power cut the clock gives the fence."""
        line = written.line()
        if os.pwrite(self._fd, line, 0) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if os.fstat(self._fd).st_size > len(line):
            os.ftruncate(self._fd, len(line))

    def end(self) -> None:
        """Unlock and close. Without the unlocking a process forked a moment ago would keep the lock."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.close()

    def close(self) -> None:
        """Close without unlocking: what a forked child does with its copy."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> LockFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    __del__ = close


def _sound(prefix: object, key: object, owner: object, fence: object) -> tuple[str, str, str, int]:
    match prefix, key, owner, fence:
        case str(prefix), str(key), str(owner), int(fence) if 0 <= fence < 1 << 62:
            return prefix, key, owner, fence
    raise ValueError


def _quoted(text: str) -> str:
    return _ODD.sub(lambda odd: b"%%%02X" % ord(odd[0]), text.encode("utf-8", "surrogatepass")).decode("ascii")


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


_files: weakref.WeakSet[LockFile] = weakref.WeakSet()
_opening = threading.RLock()


def _close_copies() -> None:
    for file in list(_files):
        file.close()
    _opening.release()


# No fork between the opening of a file and its being known here.
os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_copies)
