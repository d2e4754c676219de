"""GET_LOCK keeps the contract, on one MariaDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.stores.getlock import GetLockStore
from tests.stores.session_contracts import SessionFaults, Sessions

if TYPE_CHECKING:
    from tests.stores.session_stores import Database


@pytest.fixture
def database(getlock_database: Database) -> Database:
    return getlock_database


class TestGetLock(Sessions):
    store_type = GetLockStore
    has_one_fence = False


class TestGetLockFaults(SessionFaults):
    pass
