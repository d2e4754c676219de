"""Where guards write, and where the locks are by whose fences they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fencing.pages import serving
from tests.stores.session_stores import _advisory_database, _getlock_database, advisory_database, getlock_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["_advisory_database", "_getlock_database", "advisory_database", "getlock_database"]


@pytest.fixture
def pages_url() -> Iterator[str]:
    """A web server."""
    with serving() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file for a database of the test's own."""
    return f"sqlite:///{tmp_path}/record.db"
