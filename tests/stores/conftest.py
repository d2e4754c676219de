"""The fixtures of all stores, and at the end of a session a table of what each store was held to."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url
from tests.stores.contract import take
from tests.stores.matrix import table
from tests.stores.redis_heirs import HOME
from tests.stores.redlock_stores import everywhere
from tests.stores.session_stores import (
    _advisory_database,
    _getlock_database,
    advisory_database,
    database,
    getlock_database,
)
from tests.stores.sql_stores import Served, before_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from celery_locks.lease import Lease
    from celery_locks.stores.base import Listening
    from celery_locks.stores.sql import SqlStore
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer
    from tests.servers.redlock import RedlockNodes
    from tests.stores.contract import Opens
    from tests.stores.places import Place
    from tests.stores.redlock_stores import Nodes

__all__ = ["_advisory_database", "_getlock_database", "advisory_database", "database", "getlock_database"]

_tests: dict[str, tuple[type, str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note which class each test is of: a report does not tell."""
    _tests.update(
        {item.nodeid: (item.cls, item.originalname) for item in items if isinstance(item, pytest.Function) and item.cls}
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    lines = list(table((*_tests[nodeid], outcome) for nodeid, outcome in _outcomes(terminalreporter)))
    if lines:
        terminalreporter.section("stores and their contracts")
        for line in lines:
            terminalreporter.write_line(line)


def _outcomes(reporter: pytest.TerminalReporter) -> Iterator[tuple[str, str]]:
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in reporter.stats.get(outcome, []):
            if report.nodeid in _tests:
                yield report.nodeid, outcome


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Served:
    """The server of Postgres or MariaDB that a test names, and a database in it that is its own."""
    return Served(request.getfixturevalue(f"{request.param}_server"), request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def five_nodes(redlock_nodes: RedlockNodes) -> list[RedisServer]:
    """Five empty nodes of Redlock."""
    redlock_nodes.flush()
    return redlock_nodes.nodes


@pytest.fixture
def three_nodes(five_nodes: list[RedisServer]) -> list[RedisServer]:
    """Three of them."""
    return five_nodes[:3]


@pytest.fixture
def nodes(place: Nodes) -> list[RedisServer]:
    """The nodes of Redlock that the place is made of."""
    return place.nodes


@pytest.fixture
def lease(store: Any, nodes: list[RedisServer]) -> Lease:
    """A lease of `wallet` that all nodes have, and that does not end by itself."""
    lease = take(store, "wallet", ttl=600)
    everywhere(nodes, "anna")
    return lease


@pytest.fixture
def place() -> Place:
    """Where the server is. A test file names its own."""
    raise NotImplementedError("way, store and other are made by a place: give the test file a place fixture")


@pytest.fixture
def way(proxy: Callable[[str], Proxy], place: Place) -> Any:
    """A proxy on the way to the server."""
    return place.way(proxy)


@pytest.fixture
def ways(way: Any) -> Any:
    """The same by its other name, where there are several."""
    return way


@pytest.fixture
def store(way: Any, place: Place) -> Iterator[Any]:
    """A client whose requests go this way, as the place has it ready."""
    with place.ready(way.url) as store:
        yield store


@pytest.fixture
def other(place: Place) -> Iterator[Any]:
    """A client whose way is never broken."""
    with place.opened(place.url) as store:
        yield store


@pytest.fixture
def open_store(place: Place) -> Opens:
    """Gives clients that a test closes by itself, or not."""
    return functools.partial(from_any_url, place.url)


@pytest.fixture
def slot(store: Any) -> Iterator[Listening]:
    """The process in which an heir waits."""
    with contextlib.closing(store.listen(HOME)) as listening:
        yield listening


@pytest.fixture
def said(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that a store in a table sends."""
    words: list[str] = []
    before_each(store, monkeypatch, words.append)
    return words


@pytest.fixture
def held(store: Any) -> Lease:
    """The lease that a store whose locks live in a session has from the beginning."""
    return take(store, "held")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a file store keeps its locks. It makes it."""
    return tmp_path / "locks"
