"""The server, and the workers that most tests share."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.rq.yard import Yard
from tests.servers.missing import require
from tests.servers.programs import REDIS
from tests.servers.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rq.yard import Hand

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def keeper() -> Iterator[RedisServer]:
    """A Redis that has its data again when it is started again."""
    require(REDIS)
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def yard(keeper: RedisServer, tmp_path: Path) -> Yard:
    """A queue of its own, without workers."""
    return Yard(keeper, tmp_path)


@pytest.fixture(scope="module")
def hands(keeper: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Hand]]:
    """Two workers that a file's tests share."""
    folder = tmp_path_factory.mktemp("shared")
    with Yard(keeper, folder, queue="shared").workers(
        2, CELERY_LOCK_TASKS='{"tests.rq.jobs.pla*": {"key": "{folder}", "ttl": 5}}'
    ) as hands:
        yield hands


@pytest.fixture
def shared(keeper: RedisServer, hands: list[Hand], tmp_path: Path) -> Yard:
    """The queue that these attend to, and a key of one's own."""
    assert hands
    return Yard(keeper, tmp_path, queue="shared")
