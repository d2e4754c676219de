"""`release`: free a key whoever has it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from celery_locks import sight
from celery_locks.cli import people
from celery_locks.cli.desk import Desk, note
from celery_locks.cli.effects import LOOKED_FIRST, effect_on, had_by
from celery_locks.cli.exits import Misused, no
from celery_locks.cli.printing import as_json, plain, say
from celery_locks.crowd import inspects

if TYPE_CHECKING:
    from celery_locks.sight import Seen
    from celery_locks.stores import Store


@click.command("release")
@click.argument("key")
@click.option("--force", is_flag=True, help="Do not ask first.")
@click.option("--if-fence", type=click.IntRange(min=0), metavar="N", help="Only the holder with this fence.")
@as_json
def verb(key: str, *, force: bool, if_fence: int | None, as_json: bool) -> None:
    """Free KEY whoever has it, and say what that does to its holder.

    Asks first, and then frees it from the holder it has shown and from nobody that came after. Exits with 1 when the
    key is free, its holder has another fence, or the answer is no.
    """
    store = Desk.here().store
    meant = _meant(store, key, if_fence, as_json=as_json)
    if not force and not _agrees(key, meant):
        no("nothing was changed", as_json=as_json, key=key, released=[])
    # Several that were shown go together, whoever has joined them since.
    is_one = len(meant) == 1 and (if_fence is not None or not force)
    freed = sight.evict(store, key, meant[0].holding.fence) if is_one else inspects(store).force_release(key)
    if not freed:
        who = plain(meant[0].owner.brief) if is_one else "anybody"
        no(f"{plain(key)} is not held by {who} any more: nothing was changed", as_json=as_json, key=key, released=[])
    _say(key, meant, as_json=as_json)
    if is_one and not sight.compares(store):
        note(LOOKED_FIRST)


def _meant(store: Store, key: str, fence: int | None, *, as_json: bool) -> list[Seen]:
    """The holders that are to go."""
    holders = [sight.seen(store, each) for each in sight.holders(store, key)]
    if not holders:
        no(f"{plain(key)} is free: nothing was changed", as_json=as_json, key=key, released=[])
    meant = [seen for seen in holders if fence in (None, seen.holding.fence)]
    if not meant:
        why = f"{had_by(key, holders)}, not with fence {fence}: nothing was changed"
        no(why, as_json=as_json, key=key, released=[])
    return meant


def _agrees(key: str, meant: list[Seen]) -> bool:
    if not sys.stdin.isatty():
        raise Misused("there is no terminal to ask at: add --force, best with --if-fence")
    return click.confirm(f"Release {had_by(key, meant)}?", err=True)


def _say(key: str, meant: list[Seen], *, as_json: bool) -> None:
    effect = effect_on(key, meant)
    said = f"Released {had_by(key, meant)}.\n{effect}"
    say(said, as_json=as_json, key=key, released=[people.told(seen) for seen in meant], effect=effect)
