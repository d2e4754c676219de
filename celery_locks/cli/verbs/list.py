"""`list`: the keys taken now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from celery_locks import sight
from celery_locks.cli import people
from celery_locks.cli.desk import Desk, note
from celery_locks.cli.printing import UNKNOWN, Table, as_json, line_of_json, span

if TYPE_CHECKING:
    from celery_locks.sight import Row


@click.command("list")
@click.argument("pattern", default="*")
@as_json
def verb(pattern: str, *, as_json: bool) -> None:
    """List the keys taken now that match PATTERN, a glob such as 'wallet:*'.

    A page at a time, and not of one moment. AGE is since when it is held, TTL what is left of its lease, WAITING how
    many are in line; - where the store cannot tell.
    """
    table, page = Table("KEY", "AGE", "TTL", "WAITING", "HOLDER"), None
    for page in sight.rows(Desk.here().store, pattern):
        if as_json:
            for row in page:
                line_of_json({"key": row.seen.holding.key, **people.told(row.seen), "waiting": row.waiting})
        else:
            table.print(map(_cells, page))
    if page is None and not as_json:
        note(f"no key that matches {pattern!r} is held")


def _cells(row: Row) -> tuple[str, ...]:
    (holding, owner, since), waiting = row
    counted = UNKNOWN if waiting is None else str(waiting)
    return holding.key, span(people.age(since)), span(holding.remaining), counted, owner.brief
