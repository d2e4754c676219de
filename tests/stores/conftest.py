"""Closes a session with a table of what each store was held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stores.matrix import table
from tests.stores.session_stores import (
    _advisory_database,
    _getlock_database,
    advisory_database,
    database,
    getlock_database,
)
from tests.stores.sql_stores import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

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
