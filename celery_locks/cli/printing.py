"""What a command prints: an aligned table, facts one below the other, or JSON."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

UNKNOWN = "-"
_LONGEST_NAME = len("waiting")
_STEPS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


class Table:
    """Prints rows a page at a time. The columns grow with what has been seen, never with the terminal."""

    def __init__(self, *titles: str) -> None:
        self._titles = titles
        self._widths = [0] * len(titles)
        self._is_begun = False

    def print(self, rows: Iterable[Sequence[str]]) -> None:
        """Print some rows, and the titles before the first."""
        page = [[plain(cell) for cell in row] for row in rows]
        if not self._is_begun:
            page.insert(0, [*self._titles])
            self._is_begun = True
        self._widths = [
            max(width, *map(len, cells)) for width, cells in zip(self._widths, zip(*page, strict=True), strict=True)
        ]
        for row in page:
            cells = (cell.ljust(width) for cell, width in zip(row, self._widths, strict=True))
            click.echo("  ".join(cells).rstrip())


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and what they are, one a line."""
    for name, value in pairs:
        click.echo(f"  {name:<{_LONGEST_NAME}}  {plain(value)}")


def line_of_json(said: Mapping[str, Any]) -> None:
    """Print one object."""
    click.echo(json.dumps(said))


def say(said: str, *, as_json: bool, **told: Any) -> None:
    """Print an answer, as a sentence or as an object."""
    if as_json:
        line_of_json(told)
    else:
        click.echo(said)


def plain(text: str) -> str:
    """A text on one line, whatever is in it: a key may hold a line's end, or what a terminal obeys."""
    return text if text.isprintable() else "".join(map(_shown, text))


def span(seconds: float | None) -> str:
    """A length of time, short."""
    if seconds is None:
        return UNKNOWN
    whole = int(seconds)
    for size, unit, less, lower in _STEPS:
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // less:02}{lower}"
    return f"{int(max(0.0, seconds) * 10) / 10}s"


def moment(since: float | None, write: Callable[[dt.datetime], str] = dt.datetime.isoformat) -> str | None:
    """A time as it is written, in UTC."""
    if since is None:
        return None
    try:
        return write(dt.datetime.fromtimestamp(since, dt.timezone.utc))
    except (OverflowError, ValueError, OSError):
        # The fence of a lock that something else wrote may be any number.
        return None


def _shown(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
