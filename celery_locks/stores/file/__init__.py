"""Locks between the processes of one machine: a file a key, locked with `flock`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import os
import pathlib
import random
import tempfile
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from celery_locks.errors import LockConfigError
from celery_locks.lease import Busy, Lease, Verdict
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store
from celery_locks.stores.file.lockfile import LockFile, Written
from celery_locks.stores.file.outage import speaking
from celery_locks.stores.file.sweeper import Sweeper, names
from celery_locks.stores.naming import require_name
from celery_locks.stores.url import hidden

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterator, Sequence

    from celery_locks.lease import Claim, Holding

#: A file unused for so long is removed. Fences also follow the clock, so forgetting one is harmless.
FENCE_RETENTION = 2 * 86_400.0
#: How often to look at, and to try, a lock whose holder has not written its name; and to try one that others look at.
LOOKS, PATIENCE, TRIES = 5, 20, 200


class FileStore(Store, Inspects):
    """Promises exclusion between all threads and processes of one machine, as long as nobody else removes the files.

    The kernel ends a lock with its process; a ttl is not used. A file stays after its release, since it remembers
    the last fence, and goes when it was idle for `fence_retention` seconds. A forced release puts a new file in the
    old one's place: the former holder goes on without a lock until its next beat.
    """

    in_connection = True
    fence_is_time = True

    def __init__(self, folder: str, *, prefix: str = DEFAULT_PREFIX, fence_retention: float = FENCE_RETENTION) -> None:
        super().__init__(prefix=prefix)
        self.folder = folder
        self._held: dict[tuple[str, str], LockFile] = {}
        self._proven = False
        self._sweeper = Sweeper(folder, fence_retention)

    def acquire(self, claim: Claim) -> Lease | Busy:
        """Take the key; its file is open as long as the lease lasts, and the ttl is not used."""
        path = self._path(require_name(claim.key))
        with self._speaking():
            file = self._held.get((path, claim.owner))
            if file is None or not file.is_named():
                outcome = self._locked(path, claim)
                if isinstance(outcome, Busy):
                    return outcome
                file = outcome
        return Lease(claim, file.fence, None, self.clock)

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        """See that each lease's file is open, and still in its place."""
        with self._speaking():
            return [self._renew(self._path(lease.key), lease.owner) for lease in leases]

    def release(self, claim: Claim) -> bool:
        """Close the key's file. Only the process and the store that took it can."""
        path = self._path(claim.key)
        file = self._held.pop((path, claim.owner), None)
        if file is None:
            return False
        with self._speaking(), file:
            if not file.is_named():
                return False
            with contextlib.suppress(OSError):
                file.write(Written(self.prefix, claim.key, "", file.fence))
            return True

    def inspect(self, key: str) -> Holding | None:
        """Who has the key now. For a moment after it was taken the holder may be "unknown"."""
        with self._speaking():
            written = self._look(self._path(key))
        return written._replace(key=key).holding() if written else None

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        """The keys taken now whose name matches the glob."""
        for name in self._names():
            with self._speaking():
                written = self._look(f"{self.folder}/{name}")
            if written and written.prefix == self.prefix and fnmatch.fnmatchcase(written.key, pattern):
                yield written.holding()

    def force_release(self, key: str) -> bool:
        """Put a free file in the place of one that is locked; False when it was free."""
        path = self._path(key)
        with self._speaking():
            written = self._look(path)
            if written is None:
                return False
            # The holder may have counted one further than it has written.
            self._put_in_place(path, Written(self.prefix, key, "", written.fence + 1))
        return True

    def close(self) -> None:
        """Close the files; the locks that live in them end."""
        while self._held:
            self._held.popitem()[1].end()

    def _locked(self, path: str, claim: Claim) -> LockFile | Busy:
        self._prepare()
        for number in range(TRIES):
            file = self._opened(path)
            try:
                outcome = self._tried(file, claim, patient=number < PATIENCE)
            except BaseException:
                # Interrupted by a time limit among others: an open file would keep the key taken.
                file.end()
                raise
            if outcome:
                return outcome
            time.sleep(random.uniform(0, 0.0001) * number)  # noqa: S311 - no secret
        raise OSError(errno.EAGAIN, f"{claim.key!r} is looked at without pause")

    def _tried(self, file: LockFile, claim: Claim, *, patient: bool) -> LockFile | Busy | None:
        """The lock, or who has it, or None: try again."""
        if file.lock(fcntl.LOCK_EX):
            if file.is_named():
                return self._taken(file, claim)
        elif not file.lock(fcntl.LOCK_SH):
            # One that is not named is about to be, is swept away, or has lost its file to a forced release.
            found = file.read()
            if file.is_named() and (found.owner or not patient):
                file.end()
                return found.busy()
        # Else only such stood in the way as looked at it: their locks are shared.
        file.end()
        return None

    def _taken(self, file: LockFile, claim: Claim) -> LockFile:
        last = file.read().fence
        file.fence = max(last + 1, time.time_ns() // 1000)
        file.write(Written(self.prefix, claim.key, claim.owner, file.fence))
        self._held[file.path, claim.owner] = file
        if not last:
            self._sweeper.sweep()
        return file

    def _renew(self, path: str, owner: str) -> Verdict:
        file = self._held.get((path, owner))
        if file is None or file.is_named():
            return Verdict.LOST if file is None else Verdict.RENEWED
        self._held.pop((path, owner), None)
        file.end()
        return Verdict.LOST

    def _look(self, path: str) -> Written | None:
        """What the holder has written; None when nobody holds the lock."""
        written = None
        for number in range(LOOKS):
            time.sleep(0.0005 * number)
            try:
                file = LockFile(path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            with file:
                if file.lock(fcntl.LOCK_SH):
                    return None
                written = file.read() if file.is_named() else None
            if written and written.owner:
                break
        return written

    def _put_in_place(self, path: str, written: Written) -> None:
        fresh = f"{path}.{os.urandom(8).hex()}"
        with LockFile(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL) as file:
            file.write(written)
        pathlib.Path(fresh).replace(path)

    def _opened(self, path: str) -> LockFile:
        with contextlib.suppress(FileNotFoundError):
            return LockFile(path, os.O_RDWR | os.O_CREAT)
        # The whole folder was removed.
        pathlib.Path(self.folder).mkdir(parents=True, exist_ok=True)
        return LockFile(path, os.O_RDWR | os.O_CREAT)

    def _prepare(self) -> None:
        """Make the folder, and see that locks there are worth something: on network disks they may not be."""
        if self._proven:
            return
        pathlib.Path(self.folder).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="proof-") as first:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with LockFile(first.name, os.O_RDWR) as second:
                if second.lock(fcntl.LOCK_EX):
                    raise OSError(errno.ENOLCK, "two have locked the same file")
        self._proven = True

    def _names(self) -> builtins.list[str]:
        with self._speaking():
            return names(self.folder)

    def _path(self, key: str) -> str:
        return f"{self.folder}/{Written(self.prefix, key).name()}"

    def _speaking(self) -> contextlib.AbstractContextManager[None]:
        return speaking(self.folder)


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> FileStore:
    """A store for file:///path/folder, with ?fence_retention=seconds if wanted."""
    host_and_path, _, query = url.partition("://")[2].partition("?")
    host, slash, path = host_and_path.partition("/")
    folder = os.path.normpath(unquote(slash + path)) if path.strip("/") else ""
    if host not in ("", "localhost") or not folder or "\0" in folder:
        raise LockConfigError(f"{hidden(url)} must name a folder by its whole path: write file:///var/lib/locks")
    settings = {**options, **dict(parse_qsl(query, keep_blank_values=True))}
    retention = _seconds(url, settings.pop("fence_retention", FENCE_RETENTION))
    for name in settings:
        # The first alone: what follows an & may be a part of a password, as all of it may before an @.
        said = repr(name) if name.isidentifier() and "@" not in url else "such an option"
        raise LockConfigError(f"{hidden(url)}: file:// does not know {said}; its only option is fence_retention")
    return FileStore(folder, prefix=prefix, fence_retention=retention)


def _seconds(url: str, value: object) -> float:
    with contextlib.suppress(TypeError, ValueError):
        if (seconds := float(value)) > 0:  # type: ignore[arg-type]  # that is what is tried
            return seconds
    raise LockConfigError(f"{hidden(url)}: fence_retention must be seconds above 0, not {value!r}")
