"""What the show looks like: live with rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from .judge import Check

    Advance = Callable[[int, str], None]

HEADINGS = ("step", "expected", "seen", "verdict")


class Screen(Protocol):
    """Where the show is seen."""

    def heading(self, text: str) -> None:
        """A new step begins."""

    def say(self, text: str) -> None:
        """Something happened."""

    def progress(self, total: int) -> AbstractContextManager[Advance]:
        """A bar; what it yields is called with how many are done and a remark."""

    def table(self, checks: Sequence[Check]) -> None:
        """The verdicts."""


def open_screen() -> Screen:
    """The live one on a terminal where rich is installed, else plain lines."""
    return LiveScreen() if sys.stdout.isatty() and find_spec("rich") else PlainScreen()


def verdict(check: Check) -> str:
    """One word for the last column."""
    return "ok" if check.kept else "FAILED"


class PlainScreen:
    """Lines without colour or cursor movement, each written at once."""

    def heading(self, text: str) -> None:
        """A line of its own, after an empty one."""
        self.say(f"\n{text}")

    def say(self, text: str) -> None:
        """One line."""
        print(text, flush=True)

    @contextmanager
    def progress(self, total: int) -> Iterator[Advance]:
        """A line a second while something changes, and one at the end."""
        line, last, written = "", "", time.monotonic()

        def advance(done: int, remark: str) -> None:
            nonlocal line, last, written
            line = f"  {done:>4}/{total}  {remark}"
            if line != last and (done == total or time.monotonic() - written >= 1):
                last, written = line, time.monotonic()
                self.say(line)

        yield advance

    def table(self, checks: Sequence[Check]) -> None:
        """Columns as wide as their widest cell."""
        rows = [HEADINGS, *((check.step, check.expected, check.seen, verdict(check)) for check in checks)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        self.say("")
        for row in rows:
            self.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class LiveScreen:
    """Colours, and bars that move."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - comes with the extra `demo`

        self._console = Console(highlight=False)

    def heading(self, text: str) -> None:
        """Bold, after an empty line."""
        self._console.print(f"\n{text}", style="bold", markup=False)

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False)

    @contextmanager
    def progress(self, total: int) -> Iterator[Advance]:
        """A bar with the time it took."""
        from rich import progress  # noqa: PLC0415

        columns = (
            progress.BarColumn(40),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.description}", markup=False),
        )
        with progress.Progress(*columns, console=self._console) as bar:
            job = bar.add_task("", total=total)
            yield lambda done, remark: bar.update(job, completed=done, description=remark)

    def table(self, checks: Sequence[Check]) -> None:
        """A table with green and red verdicts."""
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(*HEADINGS)
        for check in checks:
            word = Text(verdict(check), style="green" if check.kept else "bold red")
            table.add_row(check.step, check.expected, Text(check.seen), word)
        self._console.print("", table, sep="\n")
