"""`show`: all that is known of one key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from celery_locks import sight
from celery_locks.cli import people
from celery_locks.cli.desk import Desk
from celery_locks.cli.exits import NO
from celery_locks.cli.inquiry import Inquiry
from celery_locks.cli.printing import UNKNOWN, Table, as_json, facts, line_of_json, plain, span
from celery_locks.owner import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.cli.inquiry import Job
    from celery_locks.sight import Seen, View
    from celery_locks.stores.operations import Conflict


@click.command("show")
@click.argument("key")
@click.option(
    "--timeout", default=2.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds the workers are given."
)
@as_json
def verb(key: str, *, timeout: float, as_json: bool) -> None:
    """Show who has KEY, what they do, and who waits for it.

    What a job does is asked of its worker, which takes an app: celery -A proj locks show KEY. Exits with 1 when the key
    is free.
    """
    desk = Desk.here()
    view = sight.view(desk.store, key)
    inquiry = None if desk.app is None else Inquiry(desk.app, [seen.owner for seen in view.holders])
    if inquiry:
        inquiry.ask(timeout)
    asked = [(seen, *_job(inquiry, seen)) for seen in view.holders]
    if as_json:
        line_of_json(_told(view, asked))
    else:
        _print(view, asked)
    if not view.holders:
        raise click.exceptions.Exit(NO)


def _job(inquiry: Inquiry | None, seen: Seen) -> tuple[Job | None, str]:
    """What the holder is doing, or why that is not known."""
    if why := people.no_job(seen.owner):
        return None, why
    if inquiry is None:
        return None, "not asked: name the app, celery -A proj locks show KEY"
    job = inquiry.job(seen.owner)
    return job, "" if job else inquiry.outcome


_Asked = list[tuple["Seen", "Job | None", str]]


def _told(view: View, asked: _Asked) -> dict[str, Any]:
    holders = [
        {**people.told(seen), "job": job._asdict() if job else None, "job_unknown": why or None}
        for seen, job, why in asked
    ]
    line = None if view.line is None else [people.told_of_waiter(each, place) for place, each in _placed(view)]
    return {
        "key": view.key,
        "held": bool(holders),
        "holders": holders,
        "slots": view.slots,
        "waiting": view.waiting,
        "line": line,
        "conflicts": None if view.conflicts is None else [people.told_of_conflict(each) for each in view.conflicts],
    }


def _print(view: View, asked: _Asked) -> None:
    state = f"is held by {len(asked)}" if len(asked) > 1 else "is held" if asked else "is free"
    click.echo(f"{plain(view.key)} {state}")
    for seen, job, why in asked:
        facts(_facts(seen, job, why))
    if view.slots is not None:
        facts([("slots", str(view.slots))])
    facts([("waiting", "not known: this store keeps no line" if view.waiting is None else str(view.waiting))])
    if view.line:
        table = Table("    PLACE", "STANDS", "SINCE", "TICKET")
        table.print((f"    {place}", each.stands, _since(each.since), each.ticket) for place, each in _placed(view))
    if view.conflicts is None:
        facts([("taken", "not known: this store remembers no conflicts, or could not be asked for them")])
    elif view.conflicts:
        facts([("taken", "found so lately by")])
        Table("    WHEN", "BY", "HELD FOR", "HOLDER").print(map(_conflict, view.conflicts))


def _conflict(conflict: Conflict) -> tuple[str, ...]:
    asker, holder = (Owner.of(each).brief if each else UNKNOWN for each in (conflict.asker, conflict.holder))
    return f"    {_since(conflict.when)}", asker, span(conflict.age), holder


def _facts(seen: Seen, job: Job | None, why: str) -> Iterator[tuple[str, str]]:
    holding, owner, _ = seen
    yield "holder", owner.name
    if job or owner.task:
        yield "task", job.task if job else str(owner.task)
    if owner.task_id:
        yield "id", owner.task_id
    if job:
        yield from (("args", job.args), ("kwargs", job.kwargs), ("worker", job.worker))
    else:
        yield "job", why
    if owner.pid is not None:
        yield "pid", f"{owner.pid} on {owner.host}"
    yield from (("since", people.since(seen)), ("ttl", people.remaining(seen)), ("fence", str(holding.fence)))


def _placed(view: View) -> Iterator[tuple[int, Any]]:
    return enumerate(view.line or (), 1)


def _since(since: float | None) -> str:
    age = people.age(since)
    return UNKNOWN if age is None else f"{span(age)} ago"
