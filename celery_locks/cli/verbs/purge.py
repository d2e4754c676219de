"""`purge`: remove what expired."""

from __future__ import annotations

import click

from celery_locks.cli.desk import Desk
from celery_locks.cli.printing import as_json, say
from celery_locks.stores.operations import Tables


@click.command("purge")
@as_json
def verb(*, as_json: bool) -> None:
    """Remove what expired long ago, where a store does not do that by itself.

    In an SQL table a row outlives its lock, because it remembers the last fence; it is removed when nobody used it for
    the store's fence_retention. Workers do it too, a few rows at a time. What is remembered of conflicts goes a week
    after the last.
    """
    desk = Desk.here()
    if isinstance(desk.store, Tables):
        removed = desk.store.purge()
        said = f"removed {removed} rows that nobody used any more from {desk.place}"
    else:
        removed = 0
        said = f"nothing need be purged: {desk.place} removes by itself what expired"
    say(said, as_json=as_json, store=desk.place, purged=removed)
