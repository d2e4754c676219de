"""The Redlock store keeps the contract, over five nodes and over three of which one is down."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url
from celery_locks.stores.redlock import RedlockStore
from tests.stores.contract import (
    ExpiringContract,
    InspectContract,
    LostAnswerContract,
    ProcessContract,
    StoreContract,
)

if TYPE_CHECKING:
    from tests.stores.contract import Opens


class TestRedlock(StoreContract, ExpiringContract, InspectContract, LostAnswerContract, ProcessContract):
    """Five nodes."""

    store_type = RedlockStore

    @pytest.fixture
    def open_store(self, redlock_url: str) -> Opens:
        return functools.partial(from_any_url, redlock_url)
