"""A program at a real terminal: what it shows, and what is typed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a terminal obeys, and does not show.
_ORDERS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][0-9A-B]|[\x0e\x0f]")
PATIENCE = 30.0
SIZE = (30, 120)


class Terminal:
    """The other end of one."""

    def __init__(self, *words: str, **environment: str) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        self.raw = ""
        self._seen = 0
        self._process = subprocess.Popen(
            [sys.executable, *words],
            stdin=self.theirs, stdout=self.theirs, stderr=self.theirs,
            env={**os.environ, "TERM": "xterm-256color", **environment},
            # Ctrl-C reaches whoever has the terminal.
            preexec_fn=_take_terminal,  # noqa: PLW1509 - nothing else runs in the child yet
        )  # fmt: skip

    def type(self, keys: str) -> None:
        """Press these keys. What was shown before is not waited for again."""
        self._seen = len(self.raw)
        os.write(self._ours, keys.encode())

    def wait_for(self, *texts: str) -> str:
        """What is shown since the last key, once all of these are in it."""
        deadline = time.monotonic() + PATIENCE
        while not all(text in self.shown for text in texts):
            if time.monotonic() > deadline or not self._hear(deadline):
                raise TimeoutError(f"{texts} did not come; shown was at last: {self.shown[-3000:]}")
        return self.shown

    @property
    def shown(self) -> str:
        """As it is read, without orders to the terminal, and with one space where lines are filled or broken."""
        return " ".join(_ORDERS.sub("", self.raw[self._seen :]).split())

    def wait_until_ended(self) -> int:
        """Its exit code."""
        deadline = time.monotonic() + PATIENCE
        # Its last words are read, or it could not say them.
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"it did not end; shown was at last: {self.shown[-3000:]}")
            self._hear(min(deadline, time.monotonic() + 0.05))
        while self._hear(time.monotonic()):
            pass
        return self._process.returncode

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def is_as_before(self) -> bool:
        """Whether the terminal has its settings, its screen and its cursor back."""
        last = {way: self.raw.rfind(f"\x1b[?{way}") for way in ("1049h", "1049l", "25h", "25l")}
        return (
            termios.tcgetattr(self.theirs) == self.before
            and -1 < last["1049h"] < last["1049l"]
            and -1 < last["25l"] < last["25h"]
        )

    def close(self) -> None:
        """Hang up."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self.theirs)

    def _hear(self, deadline: float) -> bool:
        """Read what comes until then; False when nothing did."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
        if ready:
            self.raw += os.read(self._ours, 65536).decode("utf-8", "replace")
        return bool(ready)


@contextlib.contextmanager
def terminal(*words: str, **environment: str) -> Iterator[Terminal]:
    """Python with these words, at a terminal of its own."""
    there = Terminal(*words, **environment)
    try:
        yield there
    finally:
        there.close()


def _take_terminal() -> None:
    # Whoever runs the tests in the background may have had it ignored, and Python leaves that as it is.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
