"""`top`: who holds what, live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from celery_locks.cli.desk import Desk, note
from celery_locks.cli.exits import Misused
from celery_locks.cli.printing import Table, as_json, line_of_json
from celery_locks.cli.top import order, reading
from celery_locks.cli.top.state import Top
from celery_locks.cli.top.table import HEADINGS, cells, told

if TYPE_CHECKING:
    from celery_locks.cli.top.reading import Frame


@click.command("top")
@click.argument("pattern", default="*")
@click.option("--sort", default="waiting", show_default=True, type=click.Choice(order.NAMES), help="By this column.")
@click.option(
    "--every", default=2.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds from one look to the next."
)
@click.option("--once", is_flag=True, help="Print what is held now, and end.")
@as_json
def verb(pattern: str, *, sort: str, every: float, once: bool, as_json: bool) -> None:
    """Watch the keys that match PATTERN: who has them, since when, who waits, how often they were found taken.

    Its keys are shown at the bottom; b breaks a lock: it asks first, and frees the key from the holder that was shown
    and from nobody that came after. --once and --json print one look for scripts, and need no terminal.
    """
    desk = Desk.here()
    top = Top(reading.Subject(pattern), order.Order(sort))
    if once or as_json:
        _print(reading.read(desk.store, top.subject), top.order, as_json=as_json)
    else:
        _show(desk, top, every)


def _print(frame: Frame, by: order.Order, *, as_json: bool) -> None:
    lines = by.of(frame.lines)
    if as_json:
        for line in lines:
            line_of_json(told(line))
    elif lines:
        Table(*HEADINGS).print(cells(line, time.time()) for line in lines)
    else:
        note(f"no key that matches {frame.subject.pattern!r} is held")
    if frame.is_cut:
        note(f"these are the first {len(lines)} that the store lists, and there are more: name a pattern")


def _show(desk: Desk, top: Top, every: float) -> None:
    if not _is_terminal():
        raise Misused("there is no terminal to show it at: add --once, or --json")
    try:
        from celery_locks.cli.top import screen  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise Misused("the live view is drawn by rich: pip install 'celery-locks[top]', or add --once") from error
    screen.run(desk.store, desk.place, top, every)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
