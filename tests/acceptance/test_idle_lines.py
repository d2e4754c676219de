"""Jobs that wait cost the worker that holds them next to nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest

from celery_locks.roll import OFTEN
from tests.acceptance.doorstep import at_the_door, names
from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.stores.redis_stores import calls
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.nodes import Worker

SECONDS = 3.0
#: Of each second. A worker that holds no line takes a three-hundredth of one.
LITTLE = 0.1
#: Besides the looks at a line: a connection that has been silent is asked for a sign of life.
FEW = 4


def _processor_time(worker: Worker) -> float:
    """What its processes have taken, all of them."""
    main = psutil.Process(worker.pid)
    return sum(sum(each.cpu_times()[:2]) for each in (main, *main.children(recursive=True)))


@pytest.mark.newest
@only_redis
@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_worker_that_holds_a_line_is_idle(desk: Office, hire: Callable[..., Worker], pool: str) -> None:
    """Neither a loop of its own nor the store is kept busy by those who wait, whatever their number."""
    worker = hire("ann", pool=pool, queues=[f"idle-{pool}"])
    worker.start()
    with desk.taken(ttl=120):
        at_the_door(desk, 8, queue=f"idle-{pool}")
        took, asked, began = _processor_time(worker), calls(desk.vault, "evalsha"), time.monotonic()
        wait_until(lambda: time.monotonic() > began + SECONDS, "three seconds to pass", PATIENCE)
        took, asked = _processor_time(worker) - took, calls(desk.vault, "evalsha") - asked
        # On a busy machine they are more than three.
        seconds = time.monotonic() - began
    assert took < LITTLE * seconds
    assert asked <= FEW + seconds / OFTEN
    judge(desk.journal.wait_for_runs(desk.key, 8, PATIENCE), names(8))
