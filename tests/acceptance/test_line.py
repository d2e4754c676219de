"""A released key is working again at once when somebody waits, first come first served.

The countdown of these jobs is a minute: whoever runs before it is over was woken.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_rabbitmq, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.result import AsyncResult

    from tests.acceptance.nodes import Worker


def in_line(office: Office, count: int, task: str = "line", *, queue: str | None = None) -> list[AsyncResult]:
    """Jobs that wait in line, in this order."""
    results = []
    for number in range(count):
        results.append(office.job(task, f"job {number}", queue=queue).apply_async())
        office.wait_for_line(number + 1)
    return results


def names(count: int) -> list[str]:
    return [f"job {number}" for number in range(count)]


def test_who_waits_is_woken_in_order(office: Office) -> None:
    """Ten jobs that wait for one key all run within seconds, in the order they came, re-queued once each at most."""
    with office.taken():
        in_line(office, 10)
    runs = office.journal.wait_for_runs(office.key, 10, PATIENCE)
    judge(runs, names(10))
    assert [run.job for run in runs] == names(10)
    assert runs[0].facts["requeues"] == 1
    assert max(run.facts["requeues"] for run in runs) == 1


@pytest.mark.newest
def test_a_crowd_is_served_without_polling(office: Office) -> None:
    """Forty jobs sent at once: none is lost or overlaps, and few go back more than once.

    Their order is that in which they come to be present, which is the broker's and the machine's: no test's.
    """
    for number in range(40):
        office.send("line", f"job {number}", seconds=0.02)
    runs = office.journal.wait_for_runs(office.key, 40, 2 * PATIENCE)
    judge(runs, names(40))
    assert sum(run.facts["requeues"] for run in runs) <= 40


def test_the_next_waits_in_its_slot(office: Office) -> None:
    """With lock_wait jobs hand over inside the workers, in order, and at most one of a key waits in a slot."""
    with office.taken():
        for number in range(6):
            office.send("line_in_slot", f"job {number}")
            office.wait_for_line(number + 1)
    runs = office.journal.wait_for_runs(office.key, 6, PATIENCE)
    judge(runs, names(6))
    assert [run.job for run in runs] == names(6)
    assert runs[0].facts["requeues"] == 0
    assert max(run.facts["requeues"] for run in runs) <= 1


@pytest.mark.newest
@only_redis
def test_only_the_next_waits_in_a_slot(desk: Office, hire: Callable[..., Worker]) -> None:
    """Of two slots one stays free, however many jobs with a long lock_wait come for a taken key."""
    hire("ann", queues=["one-slot"]).start()
    with desk.taken(ttl=120):
        in_line(desk, 3, "line_long_in_slot", queue="one-slot")
        assert desk.send("work", "other", queue="one-slot", key=f"{desk.key}-x").get(timeout=PATIENCE) == "other"
    judge(desk.journal.wait_for_runs(desk.key, 3, PATIENCE), names(3))


@pytest.mark.newest
@only_redis
def test_a_fresh_job_does_not_overtake(office: Office) -> None:
    """One sent while others wait comes after them, also when the key is free for a moment."""
    with office.taken():
        in_line(office, 3)
        office.send("line", "job 3")
    runs = office.journal.wait_for_runs(office.key, 4, PATIENCE)
    assert [run.job for run in runs] == names(4)


def test_an_unfair_task_waits_in_no_line(office: Office) -> None:
    """With lock_fair=False a job comes by its countdown alone, and carries no ticket."""
    with office.taken():
        waits = office.send("no_line", "job")
        office.wait_for_messages("job", 2)
    assert waits.get(timeout=PATIENCE) == "job"
    assert not any("lock_ticket" in each["headers"] for each in office.journal.events("message", office.key))


@only_redis
def test_a_revoked_job_is_passed_over(office: Office) -> None:
    """The turn of one that was revoked while it waited goes to the next."""
    with office.taken():
        first, second = in_line(office, 2)
        first.revoke()
        wait_until(lambda: _knows_revoked(office, first.id), "the workers to know of the revocation", PATIENCE)
    assert second.get(timeout=PATIENCE) == "job 1"
    assert office.journal.jobs(office.key) == ["job 1"]


def _knows_revoked(office: Office, job_id: str) -> bool:
    revoked = office.app.control.inspect(timeout=0.5).revoked() or {}
    return len(revoked) > 1 and all(job_id in ids for ids in revoked.values())


def test_an_expired_job_is_passed_over(office: Office) -> None:
    """So does that of one whose time to run was over before its turn."""
    soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=4)
    with office.taken():
        office.send("line", "job 0", options={"expires": soon})
        office.wait_for_line(1)
        second = office.send("line", "job 1")
        office.wait_for_line(2)
        wait_until(lambda: dt.datetime.now(dt.timezone.utc) > soon, "the first to expire", PATIENCE)
    assert second.get(timeout=PATIENCE) == "job 1"
    assert office.journal.jobs(office.key) == ["job 1"]


@pytest.mark.newest
@only_redis
def test_nothing_of_a_line_stays(office: Office) -> None:
    """When all have run, the store knows nothing of their line."""
    with office.taken():
        results = in_line(office, 3)
    for result in results:
        result.get(timeout=PATIENCE)
    office.wait_until_free()
    with office.vault.client() as client:
        assert [name for name in client.scan_iter() if office.key in name and name.endswith(":line")] == []


@pytest.mark.newest
@only_redis
def test_the_line_moves_on_when_a_holder_dies(desk: Office, hire: Callable[..., Worker]) -> None:
    """A killed worker gives nothing back: when its lease is over, another looks at the line and calls the next."""
    ann, bob = (hire(name, queues=[f"{name}-dies"]) for name in ("ann", "bob"))
    start_all([ann, bob])
    desk.job("line_short_lease", "dies", queue="ann-dies", seconds=60).apply_async()
    desk.journal.wait_for_start(desk.key, "dies")
    waits = desk.job("line", "waits", queue="bob-dies").apply_async()
    desk.wait_for_messages("waits", 2)
    ann.kill()
    assert waits.get(timeout=PATIENCE) == "waits"


@only_rabbitmq
def test_the_line_survives_the_death_of_a_worker(desk: Office, hire: Callable[..., Worker]) -> None:
    """What waited in a killed worker is redelivered to another, and is called there."""
    ann, bob = (hire(name, queues=["survives"]) for name in ("ann", "bob"))
    ann.start()
    with desk.taken(ttl=120):
        results = in_line(desk, 4, "line_acks_late", queue="survives")
        came = desk.messages("job 3")
        bob.start()
        ann.kill()
        desk.wait_for_messages("job 3", came + 1)
    assert [result.get(timeout=PATIENCE) for result in results] == names(4)
    judge(desk.journal.runs(desk.key), names(4))


def test_a_stopped_worker_hands_its_line_over(desk: Office, hire: Callable[..., Worker]) -> None:
    """What waited in a worker that was asked to end is called at another."""
    ann, bob = (hire(name, queues=["hands-over"]) for name in ("ann", "bob"))
    ann.start()
    with desk.taken(ttl=120):
        results = in_line(desk, 3, queue="hands-over")
        came = desk.messages("job 2")
        bob.start()
        ann.stop()
        desk.wait_for_messages("job 2", came + 1)
    assert [result.get(timeout=PATIENCE) for result in results] == names(3)


@pytest.mark.newest
@only_redis
def test_a_store_that_forgets_its_lines_loses_no_job(desk: Office, hire: Callable[..., Worker]) -> None:
    """All come back by their countdown: order may be lost, exclusion is not."""
    hire("ann", queues=["forgets"]).start()
    lease = desk.locks.lock(desk.key, ttl=60)
    lease.acquire()
    results = in_line(desk, 3, "line_soon", queue="forgets")
    desk.vault.flush()
    assert [result.get(timeout=PATIENCE) for result in results] == names(3)
    judge(desk.journal.runs(desk.key), names(3))


@pytest.mark.newest
@only_redis
def test_a_store_that_restarts_empty_is_told_who_waits(desk: Office, hire: Callable[..., Worker]) -> None:
    """The subscription that broke is made again, and who waits joins the line again, long before the countdown."""
    hire("ann", queues=["restarts"]).start()
    lock = desk.locks.lock(desk.key, ttl=60)
    lock.acquire()
    in_line(desk, 2, queue="restarts")
    desk.vault.restart()
    runs = desk.journal.wait_for_runs(desk.key, 2, PATIENCE)
    judge(runs, names(2))
    assert sorted(run.job for run in runs) == names(2)


@pytest.mark.parametrize(
    ("system", "pool"), [("redis", "threads"), ("redis", "gevent"), ("rabbitmq", "solo")], indirect=["system"]
)
def test_every_pool_is_woken(desk: Office, hire: Callable[..., Worker], pool: str) -> None:
    """Two workers of a pool, and jobs of one key that outlast their countdown unless they are woken."""
    queue = f"woken-{pool}"
    start_all([hire(name, pool=pool, queues=[queue]) for name in ("ann", "bob")])
    with desk.taken():
        in_line(desk, 5, queue=queue)
    runs = desk.journal.wait_for_runs(desk.key, 5, PATIENCE)
    judge(runs, names(5))
    assert [run.job for run in runs] == names(5)


@only_redis
def test_one_message_at_a_time(desk: Office, hire: Callable[..., Worker]) -> None:
    """With worker_prefetch_multiplier=1 and one process a worker that holds a line is woken as well."""
    hire("ann", {"worker_prefetch_multiplier": 1}, concurrency=1, queues=["single"]).start()
    with desk.taken():
        in_line(desk, 4, queue="single")
    runs = desk.journal.wait_for_runs(desk.key, 4, PATIENCE)
    assert [run.job for run in runs] == names(4)


@pytest.mark.newest
@only_redis
def test_plain_code_waits_in_the_same_line(office: Office) -> None:
    """A script that waits comes after the jobs that came before it, and before those that came after."""
    with office.taken():
        in_line(office, 1)
    with office.locks.lock(office.key, ttl=60):
        assert office.journal.jobs(office.key) == ["job 0"]
