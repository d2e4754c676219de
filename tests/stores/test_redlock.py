"""The Redlock store keeps the contract, over five nodes and over three of which one is down."""

from __future__ import annotations

import pytest

from celery_locks.stores.redlock import RedlockStore
from tests.stores.contract import ExpiringContract, NotesContract, ServerContracts


class TestRedlock(ServerContracts, ExpiringContract, NotesContract):
    """Five nodes."""

    store_type = RedlockStore
    has_one_fence = False

    @pytest.fixture
    def url(self, redlock_url: str) -> str:
        return redlock_url
