"""Closes a session with a table of what each store was held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stores.matrix import table

if TYPE_CHECKING:
    from collections.abc import Iterator

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
