"""The page as a test may have it."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store
from tests.web.visitor import Site, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores import Store


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store."""
    with contextlib.closing(open_store(f"memory://{uuid.uuid4().hex}")) as store:
        yield store


@pytest.fixture
def site(store: Store) -> Iterator[Site]:
    """Its page."""
    with served(store) as site:
        yield site
