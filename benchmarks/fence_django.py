"""A guarded write of Django's: what it takes beyond the plain one."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from typing import TYPE_CHECKING

from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from celery_locks import Locks
from tests.fencing import bank  # which sets Django up: before that no model can be imported

# isort: split
from django.db import connection, transaction

from celery_locks.fencing.django import fenced
from tests.fencing.bank.models import Account, Owner
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer
from tests.servers.programs import INITDB, MARIADB, MARIADB_INSTALL, POSTGRES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks import Lease

    Subject = Callable[[], object]

TARGET = AtMost(1.15)
#: A row that is as it was is not written by every database.
_numbers = itertools.count(1)
DATABASES = ("Postgres", "MariaDB", "SQLite")


def run(_url: str, *, quick: bool) -> Part:
    """Each database in turn; those that are not installed are left out."""
    figures: list[Figure] = []
    remarks = []
    for name in DATABASES:
        with _database(name) as url:
            if url is None:
                remarks.append(f"{name} is not installed and was left out")
            else:
                with bank.served(url):
                    figures += _figures(name, _times(quick=quick))
    return Part("fence-django", "a guarded write of Django's", figures, remarks)


def _times(*, quick: bool) -> Rounds:
    bank.make_tables(Owner, Account)
    if connection.vendor == "sqlite":
        # As with the servers: the disk would make all ratios 1.
        connection.cursor().execute("PRAGMA synchronous = OFF")
    locks = Locks("memory://")
    with locks.lock("fenced", ttl=3600) as lease:
        subjects = {**_plain(), **_guarded(lease)}
        times = Rounds.timed(subjects, rounds=5 if quick else 60, calls=5 if quick else 10)
    locks.close()
    return times


def _plain() -> dict[str, Subject]:
    """Each on a row of its own, as in the other table of subjects. What says which is made anew, as each job does."""
    mine, other = Account.objects.create(), Account.objects.create().pk
    _make_ten("plain")
    return {
        "save()": mine.save,
        "update() of a row": lambda: Account.objects.filter(pk=other).update(balance=next(_numbers)),
        "update() of ten": lambda: Account.objects.filter(label="plain").update(balance=next(_numbers)),
        "select_for_update().get()": lambda: _in_transaction(lambda: Account.objects.select_for_update().get(pk=other)),
    }


def _guarded(lease: Lease) -> dict[str, Subject]:
    mine, other = Account.objects.create(), Account.objects.create().pk
    _make_ten("guarded")
    return {
        "fenced()": lambda: fenced(mine, lease),
        "fenced_update() of a row": lambda: Account.objects.filter(pk=other).fenced_update(
            lease, balance=next(_numbers)
        ),
        "fenced_update() of ten": lambda: Account.objects.filter(label="guarded").fenced_update(
            lease, balance=next(_numbers)
        ),
        "claim()": lambda: _in_transaction(lambda: Account.objects.claim(lease, pk=other)),
    }


def _make_ten(label: str) -> None:
    Account.objects.bulk_create(Account(label=label) for _ in range(10))


def _in_transaction(work: Subject) -> None:
    with transaction.atomic():
        work()


def _figures(name: str, times: Rounds) -> list[Figure]:
    return [
        Figure.of(f"{name}: save()", times.micros("save()"), "µs"),
        Figure.of(f"{name}: fenced() / save()", times.ratio("fenced()", "save()"), target=TARGET),
        Figure.of(
            f"{name}: fenced_update() / update() of a row",
            times.ratio("fenced_update() of a row", "update() of a row"),
            target=TARGET,
        ),
        Figure.of(
            f"{name}: fenced_update() / update() of ten", times.ratio("fenced_update() of ten", "update() of ten")
        ),
        Figure.of(f"{name}: claim() / select_for_update().get()", times.ratio("claim()", "select_for_update().get()")),
    ]


@contextlib.contextmanager
def _database(name: str) -> Iterator[str | None]:
    """A new, empty database, and its URL."""
    programs = {"Postgres": (POSTGRES, INITDB), "MariaDB": (MARIADB, MARIADB_INSTALL)}.get(name, ())
    if not all(program.find() for program in programs):
        yield None
    elif name == "SQLite":
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
            yield f"sqlite://{directory}/bank.db"
    else:
        kind = PostgresServer if name == "Postgres" else MariaServer
        with kind() as server, server.database() as url:
            yield url
