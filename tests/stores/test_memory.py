"""The memory store keeps the contract between threads."""

from __future__ import annotations

import functools
import uuid
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores.memory import MemoryStore, from_url
from tests.stores.contract import ExpiringContract, InspectContract, StoreContract

if TYPE_CHECKING:
    from tests.stores.contract import Opens


class TestMemoryStore(StoreContract, ExpiringContract, InspectContract):
    """It promises nothing between processes."""

    store_type = MemoryStore

    @pytest.fixture
    def open_store(self) -> Opens:
        return functools.partial(from_url, f"memory://{uuid.uuid4().hex}")
