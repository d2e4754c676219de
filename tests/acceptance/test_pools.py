"""The same promises in every pool."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.journal import judge
from tests.acceptance.nodes import Worker, start_all
from tests.acceptance.office import PATIENCE, Office, each_pool, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import System


@each_pool
def test_jobs_of_one_key_on_two_workers(desk: Office, hire: Callable[..., Worker], pool: str) -> None:
    """Two workers of a pool, four slots each, twelve jobs on one key: each runs once, never two together."""
    queue = f"two-{pool}"
    start_all([hire(name, pool=pool, concurrency=4, queues=[queue]) for name in ("ann", "bob")])
    names = [f"job {number}" for number in range(12)]
    results = [desk.send("work", name, queue=queue, seconds=0.05) for name in names]
    desk.journal.wait_for_runs(desk.key, len(names), timeout=60)
    assert [result.get(timeout=PATIENCE) for result in results] == names
    runs = desk.journal.runs(desk.key)
    judge(runs, names)
    assert max(run.facts["requeues"] for run in runs) >= 1, "nobody waited: this run proves nothing"


@pytest.fixture(scope="module", params=["prefork", "threads", "gevent", "solo"])
def queue(request: pytest.FixtureRequest, system: System) -> Iterator[str]:
    """The queue of a worker with that pool."""
    name, module = f"of-{request.param}", "tests.acceptance.stubborn"
    worker = Worker(name, system.conf, system.journal, pool=request.param, queues=[name], module=module)
    worker.start()
    yield name
    worker.close()


@only_redis
def test_a_heartbeat_in_every_pool(desk: Office, queue: str) -> None:
    """A job of two ttls keeps its key, also where the beat comes from a thread beside it."""
    job = desk.send("short_lease", "long", queue=queue, seconds=4.5)
    run = desk.journal.wait_for_start(desk.key, "long")

    def over_and_never_without_its_key() -> bool:
        holding = desk.locks.holder(desk.key)
        if desk.journal.runs(desk.key)[0].end is None:
            assert holding is not None
            assert holding.owner == run.facts["owner"]
        return bool(job.state == "SUCCESS")

    wait_until(over_and_never_without_its_key, "the job to end", PATIENCE)


@pytest.mark.newest
@only_redis
def test_a_program_that_a_job_starts(desk: Office, queue: str) -> None:
    """It takes signals as it would without locks: our threads keep theirs to themselves."""
    for turn in range(3):
        assert desk.send("ends_another", f"turn {turn}", queue=queue).get(timeout=PATIENCE) == -signal.SIGTERM
