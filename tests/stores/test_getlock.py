"""GET_LOCK keeps the contract."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url
from celery_locks.stores.getlock import GetLockStore
from tests.stores.contract import (
    ConnectionContract,
    FaultContract,
    InspectContract,
    LostAnswerContract,
    ProcessContract,
    StoreContract,
    StoreFixtures,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.mariadb import MariaServer
    from tests.stores.contract import Opens
    from tests.stores.session_stores import Database

#: 125 processes that connect at once to a busy machine take their time.
PATIENT = "?timeout=20&connect_timeout=20"


class TestGetLock(StoreContract, ConnectionContract, InspectContract, LostAnswerContract, ProcessContract):
    """One MariaDB over TCP."""

    store_type = GetLockStore

    @pytest.fixture
    def open_store(self, getlock_database: Database) -> Opens:
        return functools.partial(from_any_url, f"{getlock_database.url}{PATIENT}&ssl_disabled=true")


class TestGetLockFaults(FaultContract, StoreFixtures):
    """A frozen holder loses its key when its session was idle for too long, and knows it.

    When the server is killed all locks end, and each holder knows it before the server is back.
    """

    @pytest.fixture
    def open_store(self, getlock_database: Database) -> Opens:
        return functools.partial(from_any_url, f"{getlock_database.url}?ssl_disabled=true&idle_timeout=3")

    @pytest.fixture
    def upset(self, mariadb_server: MariaServer) -> Callable[[], object]:
        def killed() -> None:
            mariadb_server.kill()
            mariadb_server.start()

        return killed
