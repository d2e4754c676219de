"""Where the locks of a test are, and two clients of them."""

from __future__ import annotations

import contextlib
import functools
import uuid
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores import Store
    from tests.stores.contract.asking import Opens


class StoreFixtures:
    """What the tests of all contracts ask for."""

    @pytest.fixture
    def url(self) -> str:
        """Where the locks are. A store that is opened otherwise than by its URL has an `open_store` of its own."""
        raise NotImplementedError("a store's test says where its locks are: give it a url fixture, or open_store")

    @pytest.fixture
    def open_store(self, url: str) -> Opens:
        return functools.partial(from_any_url, url)

    @pytest.fixture
    def store(self, open_store: Opens) -> Iterator[Store]:
        with contextlib.closing(open_store()) as store:
            yield store

    @pytest.fixture
    def other(self, open_store: Opens) -> Iterator[Store]:
        with contextlib.closing(open_store()) as store:
            yield store

    @pytest.fixture
    def key(self) -> str:
        return f"wallet:{uuid.uuid4().hex}"
