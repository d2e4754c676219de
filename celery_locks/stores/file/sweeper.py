"""Removes lock files that nobody has used for long, a few at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import random
import time

from celery_locks.stores.file.lockfile import SUFFIX, LockFile

#: Whoever adds a file looks at so many others. With one each, files would pile up for ever.
AT_ONCE = 4
#: So many are picked at random from the whole folder, before it is read again.
IN_TURN = 1000


def names(folder: str) -> list[str]:
    """The lock files of a folder; none when it is not there."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.name.endswith(SUFFIX)]
    return []


class Sweeper:
    """What a store knows of the files it may remove."""

    def __init__(self, folder: str, retention: float) -> None:
        self._folder = folder
        self._retention = retention
        self._picked: list[str] = []

    def sweep(self) -> None:
        """Remove some files that were idle for long. What goes wrong here is no concern of the lock just taken."""
        for _ in range(AT_ONCE):
            with contextlib.suppress(OSError, IndexError):
                if not self._picked:
                    found = names(self._folder)
                    self._picked = random.sample(found, min(len(found), IN_TURN))
                self._remove_if_idle(f"{self._folder}/{self._picked.pop()}")

    def _remove_if_idle(self, path: str) -> None:
        if time.time() - os.lstat(path).st_mtime < self._retention:
            return
        with LockFile(path, os.O_RDWR) as file:
            # Whoever opened the file before it goes will see, with the lock in hand, that it is not named any more.
            if file.lock(fcntl.LOCK_EX) and file.is_named() and _is_ours(file):
                pathlib.Path(path).unlink()


def _is_ours(file: LockFile) -> bool:
    # Others may keep lock files in this folder too: only what says what it is may go.
    return file.read().name() == file.path.rpartition("/")[2]
