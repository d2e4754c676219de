"""All of one key, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.cli import people
from celery_locks.cli.printing import UNKNOWN, plain, span
from celery_locks.owner import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.sight import Seen, View


def page(view: View, now: float) -> list[str]:
    """Its holders, its line and its latest conflicts, as far as the store knows them."""
    lines = [f"{view.key} is {'held' if view.holders else 'free'}", ""]
    for seen in view.holders:
        lines += [*_holder(seen), ""]
    lines += [*_line(view, now), "", *_conflicts(view, now)]
    return [plain(line) for line in lines]


def _holder(seen: Seen) -> Iterator[str]:
    holding, owner, _ = seen
    yield f"holder    {owner.name}"
    if owner.task:
        yield f"task      {owner.task}"
    if owner.task_id:
        yield f"id        {owner.task_id}"
    if owner.step:
        yield f"workflow  {people.step(owner)}"
    if owner.pid is not None:
        yield f"pid       {owner.pid} on {owner.host}"
    yield f"since     {people.since(seen)}"
    yield f"ttl       {people.remaining(seen)}"
    yield f"fence     {holding.fence}"


def _line(view: View, now: float) -> Iterator[str]:
    if view.waiting is None:
        yield "waiting   not known: this store keeps no line"
        return
    yield f"waiting   {view.waiting}"
    for place, each in enumerate(view.line or (), 1):
        since = UNKNOWN if each.since is None else f"{span(max(0.0, now - each.since))} ago"
        yield f"{place:>7}   {each.stands:<8}{since:<14}{each.ticket}"


def _conflicts(view: View, now: float) -> Iterator[str]:
    if view.conflicts:
        yield "taken     found so lately by"
    for each in view.conflicts or ():
        asker, holder = (Owner.of(name).brief if name else UNKNOWN for name in (each.asker, each.holder))
        yield f"          {span(max(0.0, now - each.when))} ago, {asker}: held for {span(each.age)} by {holder}"
