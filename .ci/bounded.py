"""Run a command for so many seconds at most: `python .ci/bounded.py SECONDS COMMAND ...`.

It does what `timeout` does, which macOS lacks: exit code 124 when the time is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

TIME_IS_OVER = 124
GRACE = 10.0


def main(seconds: str, *command: str) -> int:
    """The command's exit code; whatever ends us ends it, and what it has started, too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - it is what we are for
    try:
        return process.wait(float(seconds))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        _end(process)
        return TIME_IS_OVER


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask all of them to end; whoever has not done so after a while is killed."""
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
