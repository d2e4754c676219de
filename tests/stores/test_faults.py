"""Redis, Valkey and files keep what they promise while holders die or sleep and the server is restarted."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store as from_any_url
from tests.servers.missing import require
from tests.servers.programs import REDIS
from tests.servers.redis import RedisServer
from tests.stores.contract import FaultContract, StoreFixtures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.stores.contract import Opens


@pytest.fixture(scope="module")
def careful_redis() -> Iterator[RedisServer]:
    """A Redis that has written down whatever it answered."""
    require(REDIS)
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


class TestRedisFaults(FaultContract, StoreFixtures):
    """One server that keeps nothing over a restart: two may hold then, and their fences tell them apart."""

    upset_excludes = False

    @pytest.fixture
    def open_store(self, redis_url: str) -> Opens:
        return functools.partial(from_any_url, redis_url)

    @pytest.fixture
    def upset(self, redis_server: RedisServer) -> Callable[[], object]:
        def killed() -> None:
            redis_server.kill()
            redis_server.start()

        return killed


class TestPersistentRedisFaults(FaultContract, StoreFixtures):
    """One server that writes all down before it answers: a lock outlives its restart."""

    @pytest.fixture
    def open_store(self, careful_redis: RedisServer) -> Opens:
        return functools.partial(from_any_url, careful_redis.url)

    @pytest.fixture
    def upset(self, careful_redis: RedisServer) -> Callable[[], object]:
        def killed() -> None:
            careful_redis.kill()
            careful_redis.start()

        return killed


class TestFileFaults(FaultContract, StoreFixtures):
    """A file's lock ends with its process and not before; there is no server that could be upset."""

    sleeper_loses = False

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Opens:
        return functools.partial(from_any_url, f"file://{tmp_path}/locks")

    @pytest.fixture
    def upset(self) -> Callable[[], object]:
        return lambda: None
