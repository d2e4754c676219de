"""The keys of a terminal, one by one, and the terminal as it was before."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import termios
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What keys send that have no letter.
_NAMES = {
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x1b": "escape",
    **dict.fromkeys(("\x1b[A", "\x1bOA"), "up"),
    **dict.fromkeys(("\x1b[B", "\x1bOB"), "down"),
    **dict.fromkeys(("\x1b[D", "\x1bOD"), "left"),
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~"), "home"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~"), "end"),
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
}
_KEY = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO[A-Za-z]|.", re.DOTALL)
_ROOM = 1024
#: In which of a terminal's settings its special keys are.
_SPECIAL = 6


class Keyboard:
    """What is typed at a terminal."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def read(self) -> list[str] | None:
        """The keys that were pressed, by name or letter; None when the terminal is gone."""
        try:
            data = os.read(self.fd, _ROOM)
        except OSError:
            return None
        return keys(self._decoder.decode(data)) if data else None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have each key at once and unseen. Ctrl-C is as ever; Ctrl-Z would leave a shell with our picture."""
        before = termios.tcgetattr(self.fd)
        try:
            tty.setcbreak(self.fd)
            ours = termios.tcgetattr(self.fd)
            ours[_SPECIAL][termios.VSUSP] = b"\0"
            termios.tcsetattr(self.fd, termios.TCSANOW, ours)
            yield
        finally:
            # What was typed and not read was not meant for the shell.
            termios.tcsetattr(self.fd, termios.TCSAFLUSH, before)


def keys(text: str) -> list[str]:
    """The keys that send this text. What is no letter and has no name is left out."""
    found = (_NAMES.get(each, each) for each in _KEY.findall(text))
    return [key for key in found if key.isprintable()]
