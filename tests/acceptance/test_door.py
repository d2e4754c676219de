"""Jobs whose key is known to be taken wait at the door of their worker: in line, and without a slot or a re-queue.

One job in slots its worker: it finds its key taken, and those that come after it wait at the door.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks import LockTimeout
from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_rabbitmq, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.result import AsyncResult

    from tests.acceptance.nodes import Worker


def names(count: int) -> list[str]:
    return [f"job {number}" for number in range(count)]


def at_the_door(desk: Office, count: int, task: str = "line", *, queue: str, **options: Any) -> list[AsyncResult]:
    """The first job goes back to its queue; the others wait at the door of the worker, in this order."""
    first = desk.job("line", "job 0", queue=queue).apply_async()
    desk.wait_for_messages("job 0", 2)
    return [first, *(send(desk, task, name, queue=queue, **options) for name in names(count)[1:])]


def send(desk: Office, task: str, name: str, *, queue: str, **options: Any) -> AsyncResult:
    """A job that waits at the door."""
    result = desk.job(task, name, queue=queue).apply_async(**options)
    desk.wait_until_waiting(result)
    return result


def requeues(desk: Office, count: int) -> list[int]:
    return [run.facts["requeues"] for run in desk.journal.wait_for_runs(desk.key, count, PATIENCE)]


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "solo"])
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


def test_a_job_at_the_door_shows_key_holder_and_place(desk: Office, hire: Callable[..., Worker]) -> None:
    """As one does that was re-queued."""
    hire("ann", queues=["shows"]).start()
    with desk.taken() as lease:
        *_, last = at_the_door(desk, 3, queue="shows")
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


def test_what_a_job_was_sent_with_is_kept_at_the_door(desk: Office, hire: Callable[..., Worker]) -> None:
    """Its id, headers, priority, links and the rest of its chain; and it sees nothing of its waiting."""
    hire("ann", queues=["keeps"]).start()
    note = desk.app.signature("note", kwargs={"key": desk.key, "job": "linked"}).set(queue="keeps")
    rest = desk.app.signature("note", kwargs={"key": desk.key, "job": "rest"}).set(queue="keeps")
    with desk.taken():
        at_the_door(desk, 1, queue="keeps")
        sent = desk.job("line", "job 1", queue="keeps").set(headers={"trace": "abc"}, priority=3, link=note)
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


def test_a_wait_at_the_door_is_no_part_of_a_time_limit(desk: Office, hire: Callable[..., Worker]) -> None:
    """A limit counts from the start of the job, and strikes it then."""
    hire("ann", queues=["limits"]).start()
    begun = dt.datetime.now(dt.timezone.utc)
    with desk.taken():
        results = at_the_door(desk, 2, queue="limits", soft_time_limit=1, time_limit=20)
        cut = desk.job("minds_its_limit", "cut", queue="limits").apply_async()
        desk.wait_until_waiting(cut)
        wait_until(
            lambda: dt.datetime.now(dt.timezone.utc) - begun > dt.timedelta(seconds=1.2), "the limit's time", PATIENCE
        )
    assert [result.get(timeout=PATIENCE) for result in results] == names(2)
    assert cut.get(timeout=PATIENCE) == "cleaned up"


def test_a_revoked_job_at_the_door_is_passed_over(desk: Office, hire: Callable[..., Worker]) -> None:
    """By its id and by a stamp: the next is called at once, long before a claim window is over."""
    ann = hire("ann", {"lock_store": f"{desk.vault.url}?claim_window=100"}, queues=["revoked"])
    ann.start()
    with desk.taken():
        _, second, *_ = at_the_door(desk, 2, queue="revoked")
        stamped = desk.job("line", "stamped", queue="revoked").set(headers={"mark": "x"})
        third = stamped.apply_async(stamped_headers=["mark"], mark="x")
        desk.wait_for_line(3)
        fourth = send(desk, "line", "job 3", queue="revoked")
        second.revoke()
        desk.app.control.revoke_by_stamped_headers({"mark": ["x"]})
        wait_until(lambda: _revoked(desk, ann, second.id), "the worker to know of the revocation", PATIENCE)
    assert fourth.get(timeout=PATIENCE) == "job 3"
    assert desk.journal.jobs(desk.key) == ["job 0", "job 3"]
    desk.wait_for_state(second, "REVOKED")
    desk.wait_for_state(third, "REVOKED")


def _revoked(desk: Office, worker: Worker, job_id: str) -> bool:
    revoked = desk.app.control.inspect([worker.name], timeout=0.5).revoked() or {}
    return any(job_id in ids for ids in revoked.values())


def test_an_expired_job_at_the_door_is_passed_over(desk: Office, hire: Callable[..., Worker]) -> None:
    """Its turn goes to the next at once."""
    hire("ann", {"lock_store": f"{desk.vault.url}?claim_window=100"}, queues=["expires"]).start()
    with desk.taken():
        soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=2.5)
        _, second = at_the_door(desk, 2, queue="expires", expires=soon)
        third = send(desk, "line", "job 2", queue="expires")
        wait_until(lambda: dt.datetime.now(dt.timezone.utc) > soon, "the second to expire", PATIENCE)
    assert third.get(timeout=PATIENCE) == "job 2"
    desk.wait_for_state(second, "REVOKED")
    assert desk.journal.jobs(desk.key) == ["job 0", "job 2"]


def test_the_longest_wait_ends_at_the_door(desk: Office, hire: Callable[..., Worker]) -> None:
    """A job with lock_max_wait gives up when that is over, though nobody gave the key back."""
    hire("ann", {"lock_countdown": 60.0}, queues=["gives-up"]).start()
    with desk.taken():
        _, second = at_the_door(desk, 2, "one_second", queue="gives-up")
        with pytest.raises(LockTimeout, match="lock_max_wait=1"):
            second.get(timeout=PATIENCE)
    assert len(desk.wait_for_messages("job 1", 1)) == 1


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


@only_rabbitmq
@pytest.mark.parametrize("task", ["line", "line_acks_late"])
def test_jobs_at_the_door_survive_their_worker(desk: Office, hire: Callable[..., Worker], task: str) -> None:
    """Those of a killed worker are delivered to another, come back to their places, and leave nobody behind."""
    queue = f"survives-{task}"
    ann, bob = (hire(name, queues=[queue]) for name in ("ann", "bob"))
    ann.start()
    with desk.taken(ttl=120):
        results = at_the_door(desk, 4, task, queue=queue)
        bob.start()
        ann.kill()
        desk.wait_for_messages("job 3", 2)
        desk.wait_for_line(4)
    assert [result.get(timeout=PATIENCE) for result in results] == names(4)
    judge(desk.journal.runs(desk.key), names(4))
    assert desk.journal.jobs(desk.key) == names(4)


def test_jobs_at_the_door_of_a_stopped_worker_are_handed_over(desk: Office, hire: Callable[..., Worker]) -> None:
    """A warm stop gives their messages back and takes them out of line."""
    ann, bob = (hire(name, queues=["hands-on"]) for name in ("ann", "bob"))
    ann.start()
    with desk.taken(ttl=120):
        results = at_the_door(desk, 4, queue="hands-on")
        ann.stop()
        desk.wait_for_line(0)
        bob.start()
        desk.wait_for_messages("job 3", 2)
    assert [result.get(timeout=PATIENCE) for result in results] == names(4)
    judge(desk.journal.runs(desk.key), names(4))


@only_redis
def test_a_store_that_restarts_empty_is_told_who_is_at_the_door(desk: Office, hire: Callable[..., Worker]) -> None:
    """All come in their order, long before their countdown."""
    hire("ann", queues=["empties"]).start()
    lock = desk.locks.lock(desk.key, ttl=60)
    lock.acquire()
    at_the_door(desk, 4, queue="empties")
    desk.vault.restart()
    runs = desk.journal.wait_for_runs(desk.key, 4, PATIENCE)
    judge(runs, names(4))
    assert [run.job for run in runs] == names(4)


@only_redis
def test_a_store_that_forgets_all_is_told_who_is_at_the_door(desk: Office, hire: Callable[..., Worker]) -> None:
    """Its connections stay: whoever looks when the lease was to end sees that nobody is called."""
    hire("ann", queues=["flushed"]).start()
    desk.locks.lock(desk.key, ttl=3).acquire()
    at_the_door(desk, 4, queue="flushed")
    desk.vault.flush()
    runs = desk.journal.wait_for_runs(desk.key, 4, PATIENCE)
    judge(runs, names(4))
    assert [run.job for run in runs] == names(4)


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
