"""`stats`: the keys that are most often found taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from celery_locks.cli.desk import Desk, note
from celery_locks.cli.exits import Unable
from celery_locks.cli.printing import UNKNOWN, Table, as_json, line_of_json, span
from celery_locks.stores.operations import Remembers

if TYPE_CHECKING:
    from celery_locks.stores.operations import Tally


@click.command("stats")
@click.option("--most", default=20, show_default=True, type=click.IntRange(min=1), help="So many keys.")
@as_json
def verb(*, most: int, as_json: bool) -> None:
    """Show the most contended keys: how often each was found taken, and how long it was waited for and held.

    What is remembered ends a week after the last conflict. WAITED is the sum of all who had to wait in line and got the
    key, HELD the longest time for which a holder had had it when another came.
    """
    desk = Desk.here()
    if not isinstance(desk.store, Remembers):
        raise Unable(f"{desk.place} remembers no conflicts: Redis, Valkey and SQL tables do")
    if desk.store.unseen:
        note(desk.store.unseen)
    found = desk.store.most_contended(most)
    if as_json:
        for tally in found:
            line_of_json(tally._asdict())
    elif found:
        Table("KEY", "CONFLICTS", "WAITED", "EACH", "HELD").print(map(_cells, found))
    else:
        note("no key is remembered to have been found taken")


def _cells(tally: Tally) -> tuple[str, ...]:
    each = span(tally.waited / tally.conflicts) if tally.waited and tally.conflicts else UNKNOWN
    return tally.key, str(tally.conflicts), span(tally.waited), each, span(tally.held)
