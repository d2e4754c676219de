"""Jobs at the door that are ended there, and those whose worker ends or whose store forgets them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from celery_locks import LockTimeout
from tests.acceptance.doorstep import at_the_door, names, send
from tests.acceptance.journal import judge
from tests.acceptance.nodes import Worker
from tests.acceptance.office import PATIENCE, Office, only_rabbitmq, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import System


@pytest.fixture(scope="module")
def ann(system: System) -> Iterator[Worker]:
    """One worker for the first tests, each with a key of its own, whose claim windows are longer than they wait."""
    conf = {**system.conf, "lock_store": f"{system.vault.url}?claim_window=100", "lock_countdown": 60.0}
    worker = Worker("left", conf, system.journal, queues=["left"])
    worker.start()
    yield worker
    worker.close()


@only_redis
def test_a_revoked_job_at_the_door_is_passed_over(desk: Office, ann: Worker) -> None:
    """By its id and by a stamp: the next is called at once, long before a claim window is over."""
    with desk.taken():
        _, second, *_ = at_the_door(desk, 2, queue="left")
        stamped = desk.job("line", "stamped", queue="left").set(headers={"mark": "x"})
        third = stamped.apply_async(stamped_headers=["mark"], mark="x")
        desk.wait_for_line(3)
        fourth = send(desk, "line", "job 3", queue="left")
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


@pytest.mark.usefixtures("ann")
@only_redis
def test_an_expired_job_at_the_door_is_passed_over(desk: Office) -> None:
    """Its turn goes to the next at once."""
    with desk.taken():
        soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=5)
        _, second = at_the_door(desk, 2, queue="left", expires=soon)
        third = send(desk, "line", "job 2", queue="left")
        wait_until(lambda: dt.datetime.now(dt.timezone.utc) > soon, "the second to expire", PATIENCE)
    assert third.get(timeout=PATIENCE) == "job 2"
    desk.wait_for_state(second, "REVOKED")
    assert desk.journal.jobs(desk.key) == ["job 0", "job 2"]


@pytest.mark.usefixtures("ann")
@pytest.mark.newest
@only_redis
def test_the_longest_wait_ends_at_the_door(desk: Office) -> None:
    """A job with lock_max_wait gives up when that is over, though nobody gave the key back."""
    with desk.taken():
        _, second = at_the_door(desk, 2, "one_second", queue="left")
        with pytest.raises(LockTimeout, match="lock_max_wait=1"):
            second.get(timeout=PATIENCE)
    assert len(desk.wait_for_messages("job 1", 1)) == 1


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
        desk.wait_until_at_home(4)
    assert [result.get(timeout=PATIENCE) for result in results] == names(4)
    judge(desk.journal.runs(desk.key), names(4))
    assert desk.journal.jobs(desk.key) == names(4)


def _put_back(desk: Office, queue: str) -> int:
    """How many messages are in the queue then. Whoever else puts messages back just now is not disturbed."""
    desk.put_back(after=0.0)
    with desk.app.connection_for_write() as connection:
        return connection.default_channel.queue_declare(queue, passive=True).message_count


@pytest.mark.newest
@only_redis
def test_a_line_survives_its_worker_where_messages_come_back_late(desk: Office, hire: Callable[..., Worker]) -> None:
    """With Redis nobody but time brings the messages of a killed worker back; they come back to their places."""
    ann, bob = (hire(name, queues=["survives-late"]) for name in ("ann", "bob"))
    ann.start()
    with desk.taken(ttl=120):
        at_the_door(desk, 4, queue="survives-late")
        ann.kill()
        wait_until(lambda: _put_back(desk, "survives-late") == 4, "all messages to be back", PATIENCE, interval=0.1)
        bob.start()
        desk.wait_until_at_home(4)
    runs = desk.journal.wait_for_runs(desk.key, 4, PATIENCE)
    judge(runs, names(4))
    assert [run.job for run in runs] == names(4)


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


@pytest.mark.newest
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


@pytest.mark.newest
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


@pytest.mark.newest
@only_redis
def test_copies_of_what_waits_at_the_door_harm_nobody(desk: Office, hire: Callable[..., Worker]) -> None:
    """A worker says when its messages will come again while they wait; those that do never run beside another."""
    ann = hire("ann", {"broker_transport_options": {"visibility_timeout": 50}}, queues=["twice"])
    ann.start()
    with desk.taken(ttl=120):
        first, *others = [desk.job("line", name, queue="twice", seconds=0.2) for name in names(3)]
        results = [first.apply_async()]
        desk.wait_for_messages("job 0", 2)
        for job in others:
            results.append(job.apply_async())
            desk.wait_until_waiting(results[-1])
        desk.put_back(after=0.0)
        desk.wait_for_messages("job 2", 2)
    assert [result.get(timeout=PATIENCE) for result in results] == names(3)
    desk.wait_for_line(0)
    desk.wait_until_free()
    judge(desk.journal.runs(desk.key))
    assert ann.log().count("Raise visibility_timeout") == 1
