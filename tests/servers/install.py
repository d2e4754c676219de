"""Install the servers the tests need: `python -m tests.servers.install`.

Only on Debian and its kin, only as root or with a sudo that asks nothing. Elsewhere it says what to run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.servers import programs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.servers.programs import Program

# Debian starts a server as soon as it is installed, unless this policy says no. A policy that is there already stays.
_SCRIPT = """
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\\nexit 101\\n' > "$policy" && chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# One that this system does not know would keep apt from all others.
for name; do
    shift
    ! apt-cache show "$name" >/dev/null 2>&1 || set -- "$@" "$name"
done
[ $# -eq 0 ] || apt-get -qq install --yes --no-install-recommends "$@"
"""


def _as_root() -> list[str] | None:
    """The words that run a command as root; None when that is not possible."""
    if os.geteuid() == 0:
        return []
    may = shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True)
    return ["sudo", "-n"] if may and may.returncode == 0 else None


def _apt_install(packages: Sequence[str]) -> str:
    """Install them; why not, or an empty string."""
    root = _as_root()
    if not packages or shutil.which("apt-get") is None or root is None:
        return "not installed here"
    command = [*root, "sh", "-c", _SCRIPT, "sh", *packages]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return "" if done.returncode == 0 else f"apt-get failed: {_last_line(done.stderr)}"


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it did not say why")


def _state(program: Program, failure: str) -> str:
    if path := program.find():
        return path
    return f"missing ({failure or 'apt does not know it'}); install: {program.remedy}"


def main() -> None:
    """Install what is missing, and print one line for each server."""
    wanted = sorted({program.apt for program in programs.ALL if program.apt and program.find() is None})
    if wanted:
        print(f"installing {' '.join(wanted)}", flush=True)
    failure = _apt_install(wanted)
    for program in programs.ALL:
        print(f"{program.name:<16}{_state(program, failure)}")


if __name__ == "__main__":
    main()
