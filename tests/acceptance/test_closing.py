"""Workers that are asked to end while jobs wait in their slots: those go elsewhere, once each."""

from __future__ import annotations

import itertools
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import celery
import pytest

from tests.acceptance.journal import judge
from tests.acceptance.nodes import Worker
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import System

_numbers = itertools.count(1)

#: Each may wait for five minutes: no test takes as long.
TASKS = ["waits", "waits_acks_late", "waits_out_of_line", "waits_out_of_line_acks_late"]
#: So many jobs of each wait at once where they are told by another process, or by a signal's handler.
EACH = 5
#: How a worker is asked to end, and how long it lets run what runs.
SHUTDOWNS = [
    pytest.param("prefork", signal.SIGTERM, 0, id="warm"),
    pytest.param("prefork", signal.SIGQUIT, 0, id="cold"),
    pytest.param("threads", signal.SIGTERM, 0, id="threads"),
    pytest.param("solo", signal.SIGTERM, 0, id="solo"),
]
if celery.VERSION >= (5, 5):
    # Before, there is no soft shutdown, and with gevent every job may be given back, done or not.
    SHUTDOWNS.append(pytest.param("prefork", signal.SIGQUIT, 3, id="soft"))
    SHUTDOWNS.append(pytest.param("gevent", signal.SIGTERM, 0, id="gevent"))
    SHUTDOWNS.append(pytest.param("gevent", signal.SIGQUIT, 3, id="gevent-soft"))


def wait_until_in_slot(desk: Office, key: str) -> None:
    """Until a job waits for this key where it is to run."""
    wait_until(lambda: desk.journal.events("asks", key), f"{key!r} to be asked for", PATIENCE)


@pytest.fixture(scope="module")
def heir(system: System) -> Iterator[Worker]:
    """Who gets what the others leave. It is told of their queues when they have ended."""
    options: Any = {"queues": ["heir"], "module": "tests.acceptance.stubborn", "concurrency": 4}
    worker = Worker("heir-of-all", {**system.conf, "lock_countdown": "auto"}, system.journal, **options)
    worker.start()
    yield worker
    worker.close()


@pytest.mark.parametrize(("pool", "number", "seconds"), SHUTDOWNS)
@only_redis
def test_waiting_jobs_go_back(  # noqa: PLR0913, PLR0917 - fixtures, and the three of a row
    desk: Office, hire_kept: Callable[..., Worker], heir: Worker, pool: str, number: int, seconds: int
) -> None:
    """However a worker ends, what waits in its slots is back on its queue before its wait is over, once."""
    queue = f"closing-{next(_numbers)}"
    conf = {"worker_soft_shutdown_timeout": seconds, "lock_countdown": "auto"}
    # That of one process has one slot.
    tasks = TASKS[:1] if pool == "solo" else TASKS * (EACH if pool == "prefork" or number == signal.SIGQUIT else 1)
    ending = hire_kept("ending", conf, queues=[queue], pool=pool, concurrency=len(tasks))
    ending.start()
    keys = {f"{desk.key}-{task}-{turn}": task for turn, task in enumerate(tasks)}
    with ExitStack() as stack:
        for key in keys:
            stack.enter_context(desk.locks.lock(key, ttl=300))
        jobs = [desk.app.send_task(task, kwargs={"key": key, "job": task}, queue=queue) for key, task in keys.items()]
        for key in keys:
            wait_until_in_slot(desk, key)
        os.kill(ending.pid, number)
        ending.wait_until_ended(60)
        assert desk.app.control.add_consumer(queue, destination=[heir.name], reply=True, timeout=PATIENCE)
        for key in keys:
            wait_until(lambda key=key: len(desk.journal.events("message", key)) > 1, f"{key!r} to come back", PATIENCE)
    assert [job.get(timeout=PATIENCE) for job in jobs] == tasks
    for key, task in keys.items():
        judge(desk.journal.runs(key), [task])
        messages = desk.journal.events("message", key)
        assert {message["headers"].get("lock_requeues") for message in messages} == {None}
        # With gevent the ending worker may be given it once more by what it asked the broker for before.
        assert len(messages) == 2 or pool == "gevent"
