"""Redis, Valkey and files keep what they promise while holders die or sleep and the server is restarted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.missing import require
from tests.servers.programs import REDIS
from tests.servers.redis import RedisServer
from tests.stores.contract import FaultContract, Scene, killed, nothing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def careful_redis() -> Iterator[RedisServer]:
    """A Redis that has written down whatever it answered."""
    require(REDIS)
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


class TestRedisFaults(FaultContract):
    """One server that keeps nothing over a restart: two may hold then, and their fences tell them apart."""

    upset_excludes = False

    @pytest.fixture
    def scene(self, redis_url: str, redis_server: RedisServer) -> Scene:
        return Scene(redis_url, killed(redis_server))


class TestPersistentRedisFaults(FaultContract):
    """One server that writes all down before it answers: a lock outlives its restart."""

    @pytest.fixture
    def scene(self, careful_redis: RedisServer) -> Scene:
        return Scene(careful_redis.url, killed(careful_redis))


class TestFileFaults(FaultContract):
    """A file's lock ends with its process and not before; there is no server that could be upset."""

    sleeper_loses = False

    @pytest.fixture
    def scene(self, tmp_path: Path) -> Scene:
        return Scene(f"file://{tmp_path}/locks", nothing)
