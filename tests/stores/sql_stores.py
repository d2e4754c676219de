"""What the tests of the SQL store share: how one is opened, and what its database is asked beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.lease import Busy
from celery_locks.stores.sql import SqlStore
from tests.stores.contract.asking import claim
from tests.stores.places import Place, connected, opener

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Where a test waits for a timeout it need not be the default one.
QUICK = "?timeout=0.5"
#: The servers, each by its fixtures.
SERVERS = pytest.mark.parametrize("server", ["postgres", "mariadb"], indirect=True)


class Served:
    """A server and a database in it that is the test's own."""

    def __init__(self, server: Any, url: str) -> None:
        self.server, self.url = server, url
        self.database = url.rpartition("/")[2]

    def ask(self, statement: str) -> list[Any]:
        return list(self.server.ask(statement, self.database))

    @property
    def sessions(self) -> int:
        """How many are connected to the database, besides us who ask."""
        if self.url.startswith("postgresql"):
            question = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        else:
            question = "SELECT count(*) FROM information_schema.processlist WHERE db = database()"
        return int(self.ask(question)[0][0]) - 1


#: By a URL with or without the sql+.
opened = opener(SqlStore, lambda url: f"sql+{url.removeprefix('sql+')}")


def empty_database(request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of one of the kind that the parameter names."""
    if request.param == "sqlite":
        return f"sqlite:///{folder}/locks.db"
    return str(request.getfixturevalue(f"{request.param}_url"))


def before_each(store: SqlStore, monkeypatch: pytest.MonkeyPatch, told: Callable[[str], object]) -> None:
    """Tell of each statement that the store sends before it goes out."""
    wire = store._database._wire
    run = wire.run

    def noted(statement: Any, *arguments: Any) -> Any:
        told(statement.words)
        return run(statement, *arguments)

    monkeypatch.setattr(wire, "run", noted)


def place_of(served: Served) -> Place:
    return connected(served.url, opened, QUICK)


def give_up(store: SqlStore, owner: str, key: str = "wallet") -> None:
    """Say what a client says that gives up its request."""
    store._give_up(store._row(claim(key, owner)))


def ask(store: SqlStore, statement: str) -> int:
    """How many rows of either table a statement of ours changed."""
    return store._database.ask(store._database.statements.made(statement), {}).changed


def conflict(store: SqlStore, key: str, asker: str = "asker") -> None:
    assert isinstance(store.acquire(claim(key, asker)), Busy)


def counts(store: SqlStore) -> dict[str, int]:
    return {tally.key: tally.conflicts for tally in store.most_contended()}
