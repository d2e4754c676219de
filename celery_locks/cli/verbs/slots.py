"""`slots`: how many may hold a key at a time."""

from __future__ import annotations

import click

from celery_locks.cli.desk import Desk
from celery_locks.cli.exits import Misused, Unable
from celery_locks.cli.printing import as_json, plain, say
from celery_locks.stores.base import Crowds
from celery_locks.stores.naming import require_name


@click.command("slots")
@click.argument("key")
@click.argument("number", metavar="[N]", required=False, type=click.IntRange(min=1))
@click.option("--unset", is_flag=True, help="Let each claim say it itself again.")
@as_json
def verb(key: str, number: int | None, *, unset: bool, as_json: bool) -> None:
    """Show how many may hold KEY at a time, or from now on allow N.

    N counts for all that ask for more than one slot, whatever lock_slots says. Who holds the key keeps it.
    """
    desk = Desk.here()
    store = desk.store
    if not isinstance(store, Crowds):
        raise Unable(f"{desk.place} has no slots: it gives each key to one holder")
    if unset and number is not None:
        raise Misused("give N or --unset, not both")
    require_name(key)
    if unset or number is not None:
        store.set_slots(key, number)
    given, held = store.slots(key), len(store.holders(key))
    slots = "as many slots as each claim says" if given is None else f"{given} slots"
    say(f"{plain(key)} has {slots}, {held} held now", as_json=as_json, key=key, slots=given, held=held)
