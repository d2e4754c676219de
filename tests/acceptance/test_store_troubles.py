"""A store that answers, but refuses: no job is lost, none runs unlocked, and all run when it is mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from celery_locks import StoreUnavailable
from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.servers.process import HOST, free_port
from tests.servers.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is proved here lies between the worker and the store

PASSWORD = "right"


class Trouble(NamedTuple):
    """What makes the store refuse, what ends that, and what a waiting job says of it."""

    begins: tuple[Any, ...]
    ends: tuple[Any, ...]
    advice: str


TROUBLES = {
    # The workers' own password stays: the server is given another one, and then theirs.
    "another password": Trouble(
        ("CONFIG", "SET", "requirepass", "another"),
        ("CONFIG", "SET", "requirepass", PASSWORD),
        "password is wrong: write redis://",
    ),
    "a replica": Trouble(
        ("REPLICAOF", HOST, free_port()), ("REPLICAOF", "NO", "ONE"), "read-only replica: name the master"
    ),
    "no memory": Trouble(("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0), "maxmemory"),
}


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    """A store that a test may trouble: neither broker nor backend."""
    with RedisServer(password=PASSWORD) as server:
        yield server


@pytest.fixture
def boss(store: RedisServer) -> Iterator[Any]:
    """A client that logged in before there was trouble."""
    with store.client() as client:
        client.ping()
        yield client
        for trouble in TROUBLES.values():
            client.execute_command(*trouble.ends)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_jobs_wait_until_their_store_is_mended(
    desk: Office, hire: Callable[..., Worker], store: RedisServer, boss: Any, trouble: str
) -> None:
    """While the store refuses its jobs show RETRY, with advice; when it does not, all run, one at a time.

    The worker's log has a line for each refusal and no traceback, and no key is left behind.
    """
    begins, ends, advice = TROUBLES[trouble]
    worker = hire("worker", {"lock_store": store.url}, queues=["troubled"])
    worker.start()
    boss.execute_command(*begins)
    names = [f"job {number}" for number in range(3)]
    jobs = [desk.send("work", name, queue="troubled", seconds=0.05) for name in names]
    desk.wait_until_waiting(*jobs)
    for job in jobs:
        desk.wait_for_messages(names[jobs.index(job)], 3)
        assert isinstance(job.info, StoreUnavailable)
        assert job.info.key == desk.key
        assert advice in str(job.info)
    assert desk.journal.runs(desk.key) == []
    boss.execute_command(*ends)
    assert [job.get(timeout=PATIENCE) for job in jobs] == names
    judge(desk.journal.runs(desk.key), names)
    assert boss.keys("*{lock}*") == []
    assert "Traceback" not in worker.log()
    assert PASSWORD not in worker.log()
