"""Hazards of lock files, and of the file in which SQLite keeps locks."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

from celery_locks.doctor.finding import Finding, Hazard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.doctor.ward import StoreCase

MOUNTS = pathlib.Path("/proc/self/mounts")
#: Disks that other machines share, whose locks may be each machine's own, or are lost when their server is restarted.
SHARED = ("nfs", "cifs", "smb", "9p", "fuse", "ceph", "gluster", "lustre", "afs", "ocfs2", "gfs2", "beegfs", "gpfs")

NETWORK = Hazard(
    "CL501",
    "error",
    "A lock on a file there may hold on each machine for itself, or be forgotten when the disk's server is restarted:"
    " two hold a key at once and neither is told.",
    "a folder on a disk of this machine, as in file:///var/lib/locks; for several machines another store",
)


def on_a_shared_disk(case: StoreCase) -> Iterator[Finding]:
    """The folder is on a disk of the network."""
    folder = getattr(case.store, "folder", None)
    kind = _kind(folder) if isinstance(folder, str) else ""
    if kind.startswith(SHARED):
        yield NETWORK.found(f"{folder} is on a disk of the network ({kind})")


def _kind(folder: str) -> str:
    """The kind of the file system, by the longest mount point above the folder; nothing where that is not told."""
    path = os.path.realpath(folder)
    try:
        lines = [line.split() for line in MOUNTS.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return ""
    found = [(_plain(line[1]), line[2]) for line in lines if _is_above(_plain(line[1]), path)]
    # Of several at one place the last hides the others.
    return max(reversed(found), key=lambda each: len(each[0]), default=("", ""))[1]


def _is_above(mount: str, path: str) -> bool:
    return os.path.commonpath([mount, path]) == mount


def _plain(mount: str) -> str:
    return mount.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


CHECKS = (on_a_shared_disk,)
