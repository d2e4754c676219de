"""Jobs whose key is known to be taken wait at the door of their worker: in line, and without a slot or a re-queue.

One job in slots its worker: it finds its key taken, and those that come after it wait at the door.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from celery_locks import LockTimeout
from tests.acceptance.doorstep import at_the_door, names, requeues, send
from tests.acceptance.journal import judge
from tests.acceptance.nodes import Worker, start_all
from tests.acceptance.office import PATIENCE, Office, each_pool, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import System


@pytest.fixture(scope="module")
def ann(system: System) -> Iterator[str]:
    """The queue of one worker for all tests that need no other: each has a key of its own."""
    worker = Worker("door", system.conf, system.journal, queues=["door"])
    worker.start()
    yield "door"
    worker.close()


@each_pool
def test_jobs_at_the_door_run_in_order_and_are_not_requeued(
    desk: Office, hire: Callable[..., Worker], pool: str
) -> None:
    """Each is one message; only the one that found the key taken has two."""
    hire("ann", pool=pool, queues=[f"door-{pool}"]).start()
    with desk.taken():
        at_the_door(desk, 6, queue=f"door-{pool}")
    assert requeues(desk, 6) == [1, 0, 0, 0, 0, 0]
    judge(desk.journal.runs(desk.key), names(6))
    assert desk.journal.jobs(desk.key) == names(6)
    assert [len(desk.wait_for_messages(name, 1)) for name in names(6)] == [2, 1, 1, 1, 1, 1]


@pytest.mark.newest
@only_redis
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_one_that_finds_its_key_taken_keeps_the_others_at_the_door(
    desk: Office, hire: Callable[..., Worker], pool: str
) -> None:
    """Of a crowd that was there before the worker only those go back that were on their way into a slot."""
    queue = f"crowd-{pool}"
    with desk.taken():
        for name in names(20):
            desk.job("line", name, queue=queue).apply_async()
        hire("ann", {"worker_prefetch_multiplier": 1}, pool=pool, queues=[queue]).start()
        desk.wait_for_line(20)
    judge(desk.journal.wait_for_runs(desk.key, 20, PATIENCE), names(20))
    assert 1 <= sum(requeues(desk, 20)) <= (1 if pool == "solo" else 10)


@pytest.mark.newest
@only_redis
def test_a_job_at_the_door_shows_key_holder_and_place(desk: Office, ann: str) -> None:
    """As one does that was re-queued."""
    with desk.taken() as lease:
        *_, last = at_the_door(desk, 3, queue=ann)
        assert isinstance(last.info, LockTimeout)
        assert (last.info.key, last.info.holder) == (desk.key, lease.owner)
        assert "place 3 in line" in str(last.info)
    assert last.get(timeout=PATIENCE) == "job 2"


def test_jobs_for_other_keys_pass_by(desk: Office, hire: Callable[..., Worker]) -> None:
    """However many wait at the door, they are in nobody's way: a worker holds more messages than it prefetches."""
    hire("ann", {"worker_prefetch_multiplier": 1}, concurrency=1, queues=["passes"]).start()
    with desk.taken():
        at_the_door(desk, 12, queue="passes")
        other = desk.app.signature("line", kwargs={"key": f"{desk.key}-other", "job": "other"}).set(queue="passes")
        assert other.apply_async().get(timeout=PATIENCE) == "other"
    judge(desk.journal.wait_for_runs(desk.key, 12, PATIENCE), names(12))


def test_what_a_job_was_sent_with_is_kept_at_the_door(desk: Office, ann: str) -> None:
    """Its id, headers, priority, links and the rest of its chain; and it sees nothing of its waiting."""
    note = desk.app.signature("note", kwargs={"key": desk.key, "job": "linked"}).set(queue=ann)
    rest = desk.app.signature("note", kwargs={"key": desk.key, "job": "rest"}).set(queue=ann)
    with desk.taken():
        at_the_door(desk, 1, queue=ann)
        sent = desk.job("line", "job 1", queue=ann).set(headers={"trace": "abc"}, priority=3, link=note)
        result = (sent | rest).apply_async()
        desk.wait_until_waiting(result.parent)
    [_, run] = desk.journal.wait_for_runs(desk.key, 2, PATIENCE)
    seen = run.facts["seen"]
    assert (run.facts["id"], run.facts["requeues"], seen["retries"]) == (result.parent.id, 0, 0)
    assert seen["headers"] == {"trace": "abc"}
    assert seen["delivery_info"]["priority"] == 3
    assert seen["eta"] is None
    assert desk.notes("linked") == [["job 1"]]
    assert desk.notes("rest") == [["job 1"]]


@only_redis
def test_a_wait_at_the_door_is_no_part_of_a_time_limit(desk: Office, ann: str) -> None:
    """A limit counts from the start of the job, and strikes it then."""
    begun = dt.datetime.now(dt.timezone.utc)
    with desk.taken():
        results = at_the_door(desk, 2, queue=ann, soft_time_limit=1, time_limit=20)
        cut = desk.job("minds_its_limit", "cut", queue=ann).apply_async()
        desk.wait_until_waiting(cut)
        wait_until(
            lambda: dt.datetime.now(dt.timezone.utc) - begun > dt.timedelta(seconds=1.2), "the limit's time", PATIENCE
        )
    assert [result.get(timeout=PATIENCE) for result in results] == names(2)
    assert cut.get(timeout=PATIENCE) == "cleaned up"


@pytest.mark.newest
@only_redis
def test_a_long_line_is_held_without_a_requeue(desk: Office, hire: Callable[..., Worker]) -> None:
    """With countdown "auto" nobody goes back to the queue when the first countdown is over, nor the second."""
    hire("ann", {"lock_countdown": "auto"}, queues=["long"], module="tests.acceptance.hurried").start()
    began = dt.datetime.now(dt.timezone.utc)
    with desk.taken():
        first = desk.job("work", "job 0", queue="long").apply_async()
        desk.wait_for_messages("job 0", 2)
        rest = [send(desk, "work", name, queue="long") for name in names(4)[1:]]
        wait_until(
            lambda: dt.datetime.now(dt.timezone.utc) - began > dt.timedelta(seconds=4), "four countdowns", PATIENCE
        )
        assert [len(desk.wait_for_messages(name, 1)) for name in names(4)] == [2, 1, 1, 1]
    assert [result.get(timeout=PATIENCE) for result in (first, *rest)] == names(4)
    assert requeues(desk, 4) == [1, 0, 0, 0]


@pytest.mark.newest
def test_two_workers_share_one_line(desk: Office, hire: Callable[..., Worker]) -> None:
    """Those at the doors of both are served in the order in which they came."""
    start_all([hire(name, queues=["shared-line"]) for name in ("ann", "bob")])
    with desk.taken():
        for number in range(8):
            send(desk, "line", f"job {number}", queue="shared-line")
            desk.wait_for_line(number + 1)
    runs = desk.journal.wait_for_runs(desk.key, 8, PATIENCE)
    judge(runs, names(8))
    assert [run.job for run in runs] == names(8)
    assert {run.facts["requeues"] for run in runs} <= {0, 1}
