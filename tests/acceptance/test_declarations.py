"""Every way to write, configure and call a locked task; and what becomes of a wrong one."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError

from celery_locks import LockedTask, Locks, LockTimeout, current_lease
from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.nodes import Worker
    from tests.servers.redis import RedisServer

pytestmark = only_redis


@pytest.mark.parametrize(("task", "ttl"), [("unbound", 5.0), ("shared", 5.0), ("class_based", 6.0), ("work", 5.0)])
def test_ways_to_write_a_task(office: Office, task: str, ttl: float) -> None:
    """Functions, bound or not, @shared_task and classes: contended jobs run once each, one at a time."""
    names = [f"job {number}" for number in range(3)]
    with office.taken():
        jobs = [office.send(task, name, seconds=0.05) for name in names]
        office.wait_until_waiting(*jobs)
    assert [job.get(timeout=PATIENCE) for job in jobs] == names
    runs = office.journal.runs(office.key)
    judge(runs, names)
    assert {run.facts["ttl"] for run in runs} == {ttl}


def test_settings_by_environment_and_annotation(desk: Office, hire: Callable[..., Worker]) -> None:
    """CELERY_LOCK_TTL in a worker's environment is its tasks' ttl; task_annotations go before it."""
    conf = {"task_annotations": {"acks_late": {"lock_ttl": 9}}}
    hire("worker", conf, queues=["env"], environment={"CELERY_LOCK_TTL": "7"}).start()
    for task in ("work", "acks_late", "class_based"):
        desk.send(task, task, queue="env").get(timeout=PATIENCE)
    assert {run.job: run.facts["ttl"] for run in desk.journal.runs(desk.key)} == {
        "work": 7.0, "acks_late": 9.0, "class_based": 6.0,
    }  # fmt: skip


def test_a_django_project(desk: Office, hire: Callable[..., Worker]) -> None:
    """Settings as CELERY_LOCK_... in Django's settings, and a shared task: it waits for its key and runs."""
    queue = {"task_default_queue": "django", "lock_ttl": 8.0}
    hire("worker", queue, queues=["django"], module="tests.acceptance.django_project").start()
    with desk.taken():
        job = desk.send("of_django", "waits", options={"queue": "django"})
        desk.wait_until_waiting(job)
    assert job.get(timeout=PATIENCE) == "waits"
    [run] = desk.journal.runs(desk.key)
    assert run.facts["ttl"] == 8.0
    assert run.facts["requeues"] >= 1


SECRET = "s3cret"
KEY = {"lock_key": "{key}"}
#: One for each place where there may be one; each mistake is known by the unit tests.
MISTAKES = {
    "unknown option": ({**KEY, "lock_tll": 3}, {}, "did you mean lock_ttl?"),
    "unknown setting": (KEY, {"lock_tll": 3}, "did you mean lock_ttl?"),
    "no URL": ({**KEY, "lock_store": "acounts"}, {"lock_stores": {"accounts": "memory://"}}, "(known: 'accounts')"),
    "no port": (KEY, {"lock_store": f"redis://:{SECRET}@host:port/0"}, "redis://"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_stops_the_worker(desk: Office, hire: Callable[..., Worker], mistake: str) -> None:
    """A worker with a wrong declaration or setting does not start, and its jobs stay on their queue.

    The one line it writes says what is wrong and how to mend it, without a password.
    """
    options, conf, mending = MISTAKES[mistake]
    queue = f"mistaken-{uuid.uuid4().hex[:8]}"
    worker = hire("worker", conf, queues=[queue], module="tests.acceptance.mistaken",
                  environment={"ACCEPTANCE_OPTIONS": json.dumps(options)})  # fmt: skip
    desk.app.signature("mistaken", kwargs={"key": desk.key, "job": "never"}).apply_async(queue=queue)
    worker.spawn()
    assert worker.wait_until_ended(timeout=PATIENCE) != 0
    [said] = worker.log().strip().splitlines()
    assert mending in said
    assert SECRET not in said
    assert desk.journal.runs(desk.key) == []
    with desk.app.connection_for_read() as connection:
        assert connection.default_channel.queue_declare(queue, passive=True).message_count == 1


@pytest.fixture
def here(vault: RedisServer) -> Iterator[Celery]:
    """An app whose jobs run where they are sent."""
    with Celery("eager", broker="memory://", set_as_current=False) as app:
        app.conf.update(task_always_eager=True, lock_store=vault.url, lock_ttl=5)
        yield app
        Locks.from_app(app).close()


def declare(app: Celery, **options: Any) -> Any:
    """A task whose result tells that it held its key."""

    def body(self: Any, key: str) -> list[Any]:
        assert self.lease is current_lease()
        return [self.lease.key, self.lease.held(), Locks.from_app(app).holder(key).owner == self.lease.owner]

    return app.task(body, bind=True, base=LockedTask, name=uuid.uuid4().hex, lock_key="{key}", **options)


def test_an_eager_job(here: Celery, desk: Office) -> None:
    """task_always_eager: the job runs under its lock, and times out where it would have gone back to a queue."""
    task = declare(here)
    assert task.delay(desk.key).get() == [desk.key, True, True]
    assert not desk.locks.locked(desk.key)
    with desk.taken() as lease:
        result = task.delay(desk.key)
        assert result.state == "FAILURE"
        with pytest.raises(LockTimeout) as timeout:
            result.get()
        assert desk.locks.holder(desk.key).owner == lease.owner, "an eager job frees nobody else's key"
    assert (timeout.value.key, timeout.value.holder) == (desk.key, lease.owner)


def test_an_eager_job_that_is_skipped(here: Celery, desk: Office) -> None:
    """An eager job that is skipped is REVOKED, and get() says so."""
    result = None
    task = declare(here, lock_on_contention="skip")
    with desk.taken():
        result = task.delay(desk.key)
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        result.get()


def test_a_direct_call(here: Celery, desk: Office) -> None:
    """Called as a function, a task takes its lock and gives it back, and raises LockTimeout when the key is taken."""
    task = declare(here)
    assert task(desk.key) == [desk.key, True, True]
    assert not desk.locks.locked(desk.key)
    with desk.taken(), pytest.raises(LockTimeout):
        task(desk.key)


def test_an_eager_job_does_not_free_a_queued_ones_lock(here: Celery, office: Office) -> None:
    """An eager run with a running job's own arguments meets its key taken, and leaves it so."""
    job = office.send("work", "queued", seconds=1)
    run = office.journal.wait_for_start(office.key, "queued")
    assert declare(here).apply((office.key,)).state == "FAILURE"
    holding = office.locks.holder(office.key)
    assert holding is not None
    assert holding.owner == run.facts["owner"]
    job.get(timeout=PATIENCE)
