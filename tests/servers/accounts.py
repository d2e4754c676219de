"""Servers that refuse to run as root, and the account each runs under when the tests do."""

from __future__ import annotations

import os
import pwd
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def _of(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return pwd.getpwnam("nobody")


def lower(name: str, directory: Path) -> list[str]:
    """The words that run a command as that account, which then owns the directory; none when we are not root."""
    if os.geteuid() != 0:
        return []
    account = _of(name)
    os.chown(directory, account.pw_uid, account.pw_gid)
    who = ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
    # A change of account makes the kernel forget that this process is to end with its parent.
    return [shutil.which("setpriv") or "setpriv", *who, "--pdeathsig", "KILL", "--"]
