"""`init`: make what a store needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from celery_locks.cli.desk import Desk, note
from celery_locks.cli.exits import Unable
from celery_locks.cli.printing import as_json, say
from celery_locks.crowd import inspects
from celery_locks.errors import StoreUnavailable
from celery_locks.stores.operations import Remembers, Tables

if TYPE_CHECKING:
    from celery_locks.stores import Store


@click.command("init")
@click.option("--ddl", is_flag=True, help="Print the statements instead, for whoever makes the table by hand.")
@as_json
def verb(*, ddl: bool, as_json: bool) -> None:
    """Make what the store needs before the first lock: the table in an SQL database. Harmless when it is there.

    Elsewhere it sees that the store answers.
    """
    desk = Desk.here()
    store = desk.store
    if isinstance(store, Tables):
        if ddl:
            statements = store.ddl()
            say(statements.rstrip(), as_json=as_json, store=desk.place, ddl=statements)
            return
        store.create_table()
        _say_what_is_missing(store)
        say(f"the table is there: {desk.place}", as_json=as_json, store=desk.place, created="table")
        return
    if ddl:
        raise Unable(f"{desk.place} has no table: there are no statements to print")
    # Those that keep a table of their own make it when they connect.
    inspects(store).inspect("celery_locks:init")
    say(f"nothing need be made: {desk.place} answers", as_json=as_json, store=desk.place, created=None)


def _say_what_is_missing(store: Store) -> None:
    """Locks do without what remembers conflicts, and so does a command that makes what they need."""
    if isinstance(store, Remembers):
        try:
            store.most_contended(1)
        except StoreUnavailable as error:
            note(f"no conflicts are remembered: {error.message}")
