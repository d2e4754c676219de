"""The memory store keeps the contract between threads."""

from __future__ import annotations

import uuid

import pytest

from celery_locks.stores.memory import MemoryStore
from tests.stores.contract import (
    CrowdsContract,
    CrowdsExpiringContract,
    ExpiringContract,
    HandingContract,
    InspectContract,
    NotesContract,
    PositionsContract,
    SeveralContract,
    StoreContract,
)


class TestMemoryStore(
    StoreContract,
    ExpiringContract,
    InspectContract,
    CrowdsContract,
    CrowdsExpiringContract,
    HandingContract,
    NotesContract,
    PositionsContract,
    SeveralContract,
):
    """It promises nothing between processes."""

    store_type = MemoryStore

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4().hex}"
