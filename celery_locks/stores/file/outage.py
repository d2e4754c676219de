"""Says in one line what is wrong with a folder of lock files, and how to mend it."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_FLOCK = "locks do not work on this disk, as on some network disks: name a folder on a local one"
_FULL = "free space on its disk"
_ADVICE = {
    errno.EACCES: "give this user the right to write there, or name another folder",
    errno.EPERM: "give this user the right to write there, or name another folder",
    errno.EROFS: "it cannot be written to: name another folder",
    errno.EEXIST: "a file is in its way: name a folder",
    errno.ENOTDIR: "a file is in its way: name a folder",
    errno.EISDIR: "a folder is in the way of a lock file: name a folder that is used for nothing else",
    errno.ELOOP: "a link is in the way of a lock file: name a folder that is used for nothing else",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EMFILE: "this process has too many files open: raise its limit (ulimit -n), each lock held takes one",
    errno.ENFILE: "this machine has too many files open: raise its limit",
    errno.ENAMETOOLONG: "name a folder with a shorter path",
    errno.EAGAIN: "look at it less often",
    errno.ENOLCK: _NO_FLOCK,
    errno.ENOSYS: _NO_FLOCK,
    errno.EINVAL: _NO_FLOCK,
    errno.ENOTSUP: _NO_FLOCK,
    errno.EOPNOTSUPP: _NO_FLOCK,
}


@contextlib.contextmanager
def speaking(folder: str) -> Iterator[None]:
    """Whatever the disk refuses is an outage."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "name another folder in the store's URL")
        what = error.strerror or error
        raise StoreUnavailable(f"the lock files in {folder} cannot be used ({what}): {advice}") from error
