"""`doctor`: what is wrong with the configuration as it runs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import click

from celery_locks import doctor, sight
from celery_locks.annotation import lock_all
from celery_locks.cli.desk import Desk
from celery_locks.cli.exits import NO, Unreached
from celery_locks.cli.printing import as_json, facts, line_of_json, plain
from celery_locks.cli.timepiece import Timepieces
from celery_locks.doctor.finding import SILENT
from celery_locks.doctor.store import LOOKED_AT, UNUSABLE
from celery_locks.doctor.ward import AppCase, Locked, StoreCase, locked_tasks
from celery_locks.errors import LockError
from celery_locks.stores.operations import Clocked, Queues

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from celery_locks.doctor.finding import Finding
    from celery_locks.doctor.ward import Ahead
    from celery_locks.stores import Store


@click.command("doctor")
@click.option("--ignore", multiple=True, metavar="CODE", help="Leave out a hazard that is known, as CL103.")
@click.option(
    "--timeout",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds the workers are given to tell their clocks; 0: they are not asked.",
)
@as_json
def verb(*, ignore: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Look for what is wrong with the configuration as it runs, and say how to mend it.

    With an app its tasks, its broker, its workers' clocks and all stores that they use; without one the store alone.
    Exits with 1 when there is an error or a warning, and with 3 when a store cannot be used. Nothing is changed.
    """
    desk = Desk.here()
    unwanted = {code.upper() for code in ignore}
    found = []
    for finding in _of_app(desk, timeout) if desk.app else _of_url(desk):
        if finding.code not in unwanted:
            found.append(finding)
            _say(finding, as_json=as_json)
    if not as_json:
        click.echo(_summed(found))
    raise click.exceptions.Exit(_code(found))


def _of_url(desk: Desk) -> Iterator[Finding]:
    return doctor.of_store(StoreCase(desk.place, desk.store))


def _of_app(desk: Desk, patience: float) -> Iterator[Finding]:
    app = desk.app
    # As a worker does when it starts: tasks are what has been imported.
    app.loader.import_default_modules()
    lock_all(app)
    locked = locked_tasks(app)
    asked = Timepieces(app)
    if patience:
        asked.ask(patience)
    cases = list(_stores(desk, locked, asked.clocks))
    # Where a store has a clock that counts, they are compared with that one.
    alone = {} if any(isinstance(case.store, Clocked) for case in cases) else asked.clocks
    yield from doctor.of_app(AppCase(app, locked, sum(_waiting(case.store) for case in cases), alone))
    if asked.trouble:
        yield SILENT.found(f"not looked for: clocks of workers: {asked.trouble}")
    for case in cases:
        yield from doctor.of_store(case)


def _stores(desk: Desk, locked: list[Locked], clocks: Mapping[str, Ahead]) -> Iterator[StoreCase]:
    """Each store that a task uses, or that the command names, once."""
    aliases = [desk.alias] if desk.alias else [None, *sorted({each.options.store or "" for each in locked} - {""})]
    users: dict[tuple[str, str], list[Locked]] = {}
    desks: dict[tuple[str, str], Desk] = {}
    for alias in aliases:
        there = desk.another(alias)
        where = there.settings.url, there.settings.prefix
        desks.setdefault(where, there)
        users.setdefault(where, []).extend(each for each in locked if each.options.store == alias)
    for where, there in desks.items():
        yield StoreCase(there.place, there.store, users[where], desk.app, clocks)


def _waiting(store: Store) -> int:
    """How many wait for keys that are held."""
    if not isinstance(store, Queues):
        return 0
    try:
        rows = itertools.islice(itertools.chain.from_iterable(sight.rows(store)), LOOKED_AT)
        counts = {row.seen.holding.key: row.waiting or 0 for row in rows}
    except LockError:
        # The store's own examination says so.
        return 0
    return sum(counts.values())


def _say(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        line_of_json({**finding._asdict(), "anchor": finding.anchor})
        return
    click.echo(f"{finding.code} {finding.severity}: {plain(finding.what)}")
    facts((name, getattr(finding, field)) for name, field in (("why", "why"), ("mend", "mend"), ("more", "anchor")))


def _summed(found: Iterable[Finding]) -> str:
    severities = [finding.severity for finding in found]
    counts = [(severities.count(each), each) for each in ("error", "warning", "note")]
    said = ", ".join(f"{count} {each}{'s' if count > 1 else ''}" for count, each in counts if count)
    return said or "nothing is wrong"


def _code(found: list[Finding]) -> int:
    if any(finding.code == UNUSABLE.code for finding in found):
        return Unreached.exit_code
    return NO if any(finding.severity != "note" for finding in found) else 0
